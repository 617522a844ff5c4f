import t from 'tap'
import { ParseError } from '../lib/net/parse-error.ts'
import { parseCommandLine } from './command-line.ts'
import { DEFAULT_CONFIG, parseConfig } from './config.ts'

t.test('parseConfig() of nothing is the default', t => {
  t.strictSame(parseConfig('{}'), DEFAULT_CONFIG)
  t.end()
})

t.test('parseConfig() reads every key', t => {
  const install = { binFrom: '/a', binTo: '/b', conflistFrom: '/c', conflistTo: '/d' }
  const text = JSON.stringify({
    node: 'n',
    kube: { server: 'https://api:6443', caFile: '/ca', tokenFile: '/token' },
    routing: { mode: 'vxlan', vni: 5, port: 8472, mtuBytes: 1400 },
    ipamd: { socket: '/s', stateDir: '/state' },
    listen: { address: '127.0.0.1', port: 1 },
    hostEtc: '/host/etc',
    install,
  })
  t.strictSame(parseConfig(text), {
    nodeName: 'n',
    kube: { from: 'server', server: 'https://api:6443', caFile: '/ca', tokenFile: '/token' },
    routing: { mode: 'vxlan', vni: 5, port: 8472, mtuBytes: 1400 },
    ipamdSocketPath: '/s',
    ipamdStateDir: '/state',
    listen: { address: '127.0.0.1', port: 1 },
    hostEtc: '/host/etc',
    install,
  })
  t.end()
})

const refused = [
  { text: '{', why: /not JSON/ },
  { text: '[]', why: /want a JSON object/ },
  { text: '{"mode":"auto"}', why: /configuration\.mode: unknown member/ },
  { text: '{"routing":{"mode":"bgp"}}', why: /routing\.mode: .*want direct, vxlan or auto/ },
  { text: '{"routing":{"vni":16777216}}', why: /routing\.vni: 16777216: want 1 to 16777215/ },
  { text: '{"routing":{"port":0}}', why: /routing\.port: 0: want 1 to 65535/ },
  { text: '{"routing":{"mtuBytes":100}}', why: /want 576 to 65535/ },
  { text: '{"listen":{"port":70000}}', why: /listen\.port/ },
  { text: '{"kube":{}}', why: /want kubeconfig or server/ },
  { text: '{"kube":{"server":"x","kubeconfig":"y"}}', why: /want one of them/ },
  { text: '{"install":{"binFrom":"/a"}}', why: /install\.binTo: missing/ },
] as const

for (const { text, why } of refused) {
  t.test(`parseConfig() refuses ${text}`, t => {
    t.throws(() => parseConfig(text), ParseError)
    t.throws(() => parseConfig(text), why)
    t.end()
  })
}

t.test('parseCommandLine() knows its commands and options', t => {
  t.match(parseCommandLine([]), { do: 'run', options: { purge: false } })
  t.match(parseCommandLine(['uninstall', '--purge', '--config', 'x']), {
    do: 'uninstall',
    options: { purge: true, configPath: 'x' },
  })
  t.match(parseCommandLine(['--server', 'http://x', '--node', 'n']), {
    do: 'run',
    options: { server: 'http://x', node: 'n' },
  })
  t.match(parseCommandLine(['run', '--wait', '120']), { do: 'run', options: { waitMs: 120_000 } })
  t.match(parseCommandLine(['run']), { do: 'run', options: { waitMs: 0 } })
  t.match(parseCommandLine(['--version']), { do: 'version' })
  t.match(parseCommandLine(['--help']), { do: 'help' })
  for (const args of [['walk'], ['run', 'away'], ['--strange'], ['--server', 'x', '--kubeconfig', 'y']]) {
    t.match(parseCommandLine(args), { do: 'refuse' }, args.join(' '))
  }
  t.end()
})

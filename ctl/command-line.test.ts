import t from 'tap'
import { parseCommandLine } from './command-line.ts'

const NOW = Date.parse('2026-11-23T15:00:00Z')

function parse(...args: readonly string[]) {
  return parseCommandLine(args, NOW)
}

t.test('parseCommandLine() takes options before and behind the command', async t => {
  const settings = { socketPath: '/s', output: 'json', timeoutMs: 2500 }
  t.match(parse('--socket', '/s', 'pools', '--output=json', '--timeout', '2.5'), { do: 'run', settings })
  t.match(parse('pools'), { settings: { socketPath: '/run/tulle/ipamd.sock', output: 'table', timeoutMs: 10_000 } })
})

t.test('parseCommandLine() knows help, version and completion, however they are asked for', async t => {
  for (const args of [['help'], ['--help']]) t.match(parse(...args), { do: 'help', command: undefined })
  for (const args of [
    ['help', 'pools'],
    ['pools', '--help'],
    ['--help', 'pools'],
  ]) {
    t.match(parse(...args), { do: 'help', command: { name: 'pools' } })
  }
  for (const args of [['version'], ['--version']]) t.same(parse(...args), { do: 'version' })
  t.same(parse('completion', 'fish'), { do: 'completion', shell: 'fish' })
})

const REFUSALS = [
  { args: [], want: /^no command: want one of status, pools, / },
  { args: ['pool'], want: /^"pool": no such command, want one of status, / },
  { args: ['help', 'pool'], want: /^"pool": no such command/ },
  { args: ['pools', 'x'], want: /^pools: "x": one argument too many$/ },
  { args: ['version', 'x'], want: /^version: "x": one argument too many$/ },
  { args: ['pools', '--pod', 'a/b'], want: /^--pod: pools has no such option, want one of --socket, / },
  { args: ['pools', '--colour'], want: /Unknown option '--colour'/ },
  { args: ['pools', '--socket'], want: /--socket/ },
  { args: ['pools', '--socket', ''], want: /^--socket: "": want the path/ },
  { args: ['pools', '--output', 'yaml'], want: /^--output: "yaml": want one of table, json$/ },
  { args: ['pools', '--output', 'json', '--output', 'table'], want: /^--output: given twice/ },
  { args: ['pools', '--timeout', '0'], want: /^--timeout: "0": want seconds/ },
  { args: ['pools', '--timeout', '-1'], want: /--timeout/ },
  { args: ['pools', '--timeout', '90000'], want: /at most 86400$/ },
  { args: ['leases', '--pod', 'web'], want: /^--pod: "web": want NAMESPACE\/NAME$/ },
  { args: ['leases', '--pod', 'a/b/c'], want: /^--pod: / },
  { args: ['leases', '--address', '10.1'], want: /^--address: Cannot parse address "10.1"/ },
  { args: ['history'], want: /^history: ADDRESS is missing$/ },
  { args: ['history', '10.1'], want: /^ADDRESS: Cannot parse address/ },
  { args: ['history', '10.0.0.1', '--at', 'noon'], want: /^--at: "noon": want 14:03, / },
  { args: ['release'], want: /^release: LEASE is missing$/ },
  { args: ['release', 'net/a'], want: /^LEASE: / },
  { args: ['release', 'net/../eth0'], want: /^LEASE: containerId: / },
  { args: ['backup', 'ipam.db'], want: /^FILE: "ipam.db": want an absolute path$/ },
  { args: ['watch', '--since', 'x'], want: /^--since: "x": want the number of an event$/ },
  { args: ['completion', 'csh'], want: /^SHELL: "csh": want one of bash, zsh, fish$/ },
] as const

for (const { args, want } of REFUSALS) {
  t.test(`parseCommandLine() refuses "${args.join(' ')}" without asking anything`, async t => {
    t.match(parse(...args), { do: 'refuse', reason: want })
  })
}

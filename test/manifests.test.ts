import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { parseConfig as parseAgentConfig } from '../agent/config.ts'
import { parseConfig as parseIpamdConfig } from '../ipamd/config.ts'
import { parseNetworkConfiguration } from '../lib/cni/configuration.ts'
import { parseTulleConfiguration } from '../lib/cni/tulle-configuration.ts'
import { ROOT } from '../scripts/paths.ts'

const manifests = read('deploy/tulle.yaml')

t.test('the configurations in deploy/tulle.yaml are what the programs accept', async t => {
  const ipamd = parseIpamdConfig(literal('ipamd.json'), 'node-1')
  t.equal(ipamd.socketPath, '/run/tulle/ipamd.sock', 'where the launcher looks')
  const agent = parseAgentConfig(literal('agent.json'))
  t.equal(agent.ipamdSocketPath, ipamd.socketPath)
  t.match(agent.install, { conflistTo: '/host/cni-conf/10-tulle.conflist' }, 'a stable name that sorts low (R10)')
  const list = JSON.parse(literal('10-tulle.conflist')) as { cniVersion: string; name: string; plugins: object[] }
  for (const plugin of list.plugins) {
    const { cniVersion, name } = list
    t.doesNotThrow(() =>
      parseTulleConfiguration(parseNetworkConfiguration(JSON.stringify({ cniVersion, name, ...plugin }))),
    )
  }
})

t.test('the manifests offer the capabilities of the repository’s own conflist', async t => {
  const own = JSON.parse(read('conflist/10-tulle.conflist')) as { plugins: { capabilities: object }[] }
  const deployed = JSON.parse(literal('10-tulle.conflist')) as { plugins: { capabilities: object }[] }
  t.strictSame(deployed.plugins[0]?.capabilities, own.plugins[0]?.capabilities)
})

t.test('ipamd has neither credentials nor a port; no container is privileged, and each has what it uses', async t => {
  const [ipamd = '', agent = ''] = manifests.slice(manifests.indexOf('- name: ipamd')).split('- name: agent')
  t.notMatch(ipamd, /credentials|containerPort|serviceaccount/)
  t.notMatch(manifests, /privileged: true/)
  t.match(ipamd, /drop: \[ALL\], add: \[NET_ADMIN, SYS_ADMIN, SYS_PTRACE\]/)
  t.match(agent, /drop: \[ALL\], add: \[NET_ADMIN, DAC_OVERRIDE\]/)
  t.equal(manifests.match(/allowPrivilegeEscalation: false/g)?.length, 3)
  t.equal(manifests.match(/readOnlyRootFilesystem: true/g)?.length, 3)
})

t.test('ipamd finds the settings of /proc/sys/net where the manifests mount them', async t => {
  const { procSys } = parseIpamdConfig(literal('ipamd.json'), 'node-1')
  t.match(manifests, `{ name: sysctls, mountPath: ${procSys}/net }`)
})

/** The text of a literal block of the ConfigMap. */
function literal(key: string): string {
  const from = manifests.indexOf(`\n  ${key}: |\n`)
  const block = manifests.slice(from + key.length + 7).split('\n')
  const end = block.findIndex(line => line !== '' && !line.startsWith('    '))
  return block.slice(0, end).join('\n')
}

function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8')
}

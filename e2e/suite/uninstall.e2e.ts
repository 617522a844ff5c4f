// Tulle is taken off as docs/install.md says, and put on again: the node is as if it had never been there.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { Daemons } from './harness/daemons.ts'
import { kubectl } from './harness/kubectl.ts'
import { serverPod } from './harness/pods.ts'
import { setUp } from './harness/setting.ts'

const REPOSITORY = join(import.meta.dirname, '..', '..')
const MANIFESTS = join(REPOSITORY, 'deploy', 'tulle.yaml')
const DRAIN_MS = 180_000

const { kubernetes, provider, nodeNames } = await setUp()
const nodeName = nodeNames.at(-1) ?? ''
const daemons = new Daemons(provider)

t.test('after what the documentation says, nothing of Tulle is on the node; it can come back', async t => {
  await kubernetes.runPods([serverPod({ name: 'port', nodeName, hostPort: 18_099 })])
  const before = await onNode('ip -o link; nft list tables; ls /etc/cni/net.d /opt/cni/bin')
  for (const trace of [/tul/, /vx-tulle/, /table inet tulle/, /10-tulle\.conflist/])
    t.match(before, trace, 'it was there')
  const drain = ['drain', nodeName, '--ignore-daemonsets', '--delete-emptydir-data', '--force', '--grace-period=1']
  await kubectl(provider, drain, { timeoutMs: DRAIN_MS })
  await kubectl(provider, ['delete', '-f', MANIFESTS, '--wait', '--cascade=foreground'], { timeoutMs: DRAIN_MS })
  await onNode(await documentedScript())
  await nothingIsThere(t)

  await kubectl(provider, ['apply', '-f', MANIFESTS])
  await kubectl(provider, ['uncordon', nodeName])
  await daemons.ready()
  const pods = await kubernetes.runPods(nodeNames.map(name => serverPod({ name: `pod-${name}`, nodeName: name })))
  t.equal(pods.flatMap(({ addresses }) => addresses).length, 2 * nodeNames.length)
  await kubernetes.deletePods(pods.map(({ name }) => name))
})

/** The commands for a node that docs/install.md has under "Taking it off". */
async function documentedScript(): Promise<string> {
  const page = await readFile(join(REPOSITORY, 'docs', 'install.md'), 'utf8')
  const [, section = ''] = page.split('\n## Taking it off\n')
  const blocks = [...section.matchAll(/```\n(.*?)```/gs)].map(([, block = '']) => block)
  const script = blocks.find(block => block.includes('tulle-agent uninstall'))
  if (script === undefined) throw new Error('docs/install.md has no commands for a node under "Taking it off"')
  return script
}

async function nothingIsThere(t: Test): Promise<void> {
  const places = ['/etc/cni/net.d', '/opt', '/run', '/var/lib', '/var/lib/cni', '/etc/sysctl.d', '/etc/modules-load.d']
  const files = `find ${places.join(' ')} -maxdepth 3 -name '*tul*' -not -path '/var/lib/containerd/*' -not -path '/var/lib/kubelet/*' 2>/dev/null || true`
  t.equal(await onNode(files), '', 'no file')
  t.equal(await onNode('ls /opt/cni/bin'), '', 'no executable, and no library of theirs')
  t.notMatch(await onNode('ip -o -details link'), /tul/, 'no link')
  for (const family of ['-4', '-6']) {
    t.notMatch(await onNode(`ip ${family} route show table all`), /proto (?:117|118)|tul/, `no route (${family})`)
    t.notMatch(await onNode(`ip ${family} rule`), /117|118/, `no rule (${family})`)
    t.notMatch(await onNode(`ip ${family} neighbour show nud permanent`), /tul/, `no neighbour (${family})`)
  }
  t.notMatch(await onNode('nft list ruleset'), /tulle/, 'no table')
  t.equal(await onNode('ss -Hxl | grep tulle || true'), '', 'no socket')
  t.equal(await onNode('pgrep -f "tulle-agen[t]|ipam[d] --config" || true'), '', 'no process')
}

async function onNode(script: string): Promise<string> {
  return await provider.exec(nodeName, ['bash', '-euc', script])
}

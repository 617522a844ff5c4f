import './harness/isolated.ts'
import { readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import t from 'tap'
import { bridgeContract } from '../../lib/kernel/bridge-contract.ts'
import { kernelContract, type ContractSubject, type SomebodyElse } from '../../lib/kernel/kernel-contract.ts'
import { KernelHost } from '../../lib/kernel/kernel-host.ts'
import { openLinuxKernel, openLinuxKernelIn } from '../../lib/kernel/linux-kernel.ts'
import { shapingContract } from '../../lib/kernel/shaping-contract.ts'
import { parseIfName } from '../../lib/net/if-name.ts'
import { parseMac } from '../../lib/net/mac.ts'
import { NODE_RULESET } from '../../lib/plan/ruleset.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import { loadAddon } from '../../native/addon.ts'
import { buildAddon } from '../../native/build.ts'
import { Netns } from './harness/namespace.ts'
import { until } from './harness/until.ts'

const FILE = resolve(import.meta.dirname, '../../dist/bin/lib/tulle.node')
await buildAddon(FILE)
const addon = loadAddon(FILE)
const node = Netns.own()
const nodeAtStart = await nodeSettings()

for (const exchange of ['sync', 'async'] as const) {
  const openLinux = async (): Promise<ContractSubject> => {
    const pod = await Netns.create('pod')
    const kernel = openLinuxKernel(addon, { podNetnsPath: pod.path, exchange })
    const withoutPod = openLinuxKernel(addon, { exchange })
    return {
      kernel,
      withoutPod,
      somebodyElse,
      async dispose() {
        kernel[Symbol.dispose]()
        withoutPod[Symbol.dispose]()
        await pod.delete()
        await cleanNode()
      },
    }
  }
  kernelContract(`linux (${exchange})`, openLinux)
  bridgeContract(`linux (${exchange})`, openLinux)
  shapingContract(`linux (${exchange})`, openLinux)
}

const openHosted = async (): Promise<ContractSubject> => {
  const pod = await Netns.create('pod')
  const host = new KernelHost(addon)
  const kernel = openLinuxKernelIn(addon, { pod: addon.openNetns(pod.path), host })
  const withoutPod = openLinuxKernelIn(addon, { pod: undefined, host })
  return {
    kernel,
    withoutPod,
    somebodyElse,
    async dispose() {
      kernel[Symbol.dispose]()
      withoutPod[Symbol.dispose]()
      host[Symbol.dispose]()
      await pod.delete()
      await cleanNode()
    },
  }
}
kernelContract('linux (of many in a daemon)', openHosted)
bridgeContract('linux (of many in a daemon)', openHosted)
shapingContract('linux (of many in a daemon)', openHosted)

const somebodyElse: SomebodyElse = {
  async addVethPair(name, peer) {
    await node.run(['ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', peer])
    for (const end of [name, peer]) await node.run(['ip', 'link', 'set', end, 'addrgenmode', 'none', 'up'])
  },
  async learnDefaultRoute(name) {
    await node.run(['ip', '-6', 'route', 'add', 'default', 'via', 'fe80::99', 'dev', name, 'proto', 'ra'])
  },
  async deleteLastRule() {
    const rules = await node.run(['nft', '-a', 'list', 'table', 'inet', 'tulle'])
    const handle = [...rules.matchAll(/# handle (\d+)$/gm)].at(-1)?.[1] ?? ''
    await node.run(['nft', 'delete', 'rule', 'inet', 'tulle', NODE_RULESET.chains[0]?.name ?? '', 'handle', handle])
  },
}

/** Puts the node back to how it was: it is one network namespace, that of this process, for all scenarios. */
async function cleanNode(): Promise<void> {
  // One end takes the other with it: the second is then not there any more.
  for (const name of [...(await linksOf('veth')), ...(await linksOf('bridge')), ...(await linksOf('ifb'))])
    await node.execute(['ip', 'link', 'delete', name])
  // Fails where there never was a route: there is no table then.
  for (const family of ['-4', '-6']) await node.execute(['ip', family, 'route', 'flush', 'proto', '117'])
  await node.run(['nft', 'flush', 'ruleset'])
  if ((await nodeSettings()) !== nodeAtStart) throw new Error('a scenario has changed a setting of the node')
}

async function linksOf(kind: 'veth' | 'bridge' | 'ifb'): Promise<readonly string[]> {
  const lines = await node.run(['ip', '-brief', 'link', 'show', 'type', kind])
  return [...lines.matchAll(/^[^\s@]+/gm)].map(match => match[0])
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

async function nodeSettings(): Promise<string> {
  return await node.run([
    'sysctl',
    'net.ipv4.ip_forward',
    'net.ipv6.conf.all.forwarding',
    'net.ipv6.conf.default.disable_ipv6',
  ])
}

t.test('removing many links at once removes each of them, and no other', { timeout: 60_000 }, async t => {
  t.teardown(cleanNode)
  await using pod = await Netns.create('pod')
  using host = new KernelHost(addon)
  const by = Deadline.in(50_000)
  await somebodyElse.addVethPair('foreign0', 'foreign1')
  const names = Array.from({ length: 100 }, (_, index) => parseIfName(`tulmany${index}`))
  using kernel = openLinuxKernelIn(addon, { pod: addon.openNetns(pod.path), host })
  const mac = parseMac('02:00:00:00:00:01')
  for (const [index, hostIfName] of names.entries()) {
    const podIfName = parseIfName(`eth${index}`)
    const mtu = { hostMtuBytes: 1500, podMtuBytes: 1500 }
    await kernel.apply({ do: 'add-veth', hostIfName, hostMac: mac, podIfName, podMac: mac, ...mtu }, by)
  }
  const before = descriptors()
  await Promise.all(
    names.slice(0, 90).map(async link => {
      using own = openLinuxKernelIn(addon, { pod: undefined, host })
      await own.apply({ do: 'delete-link', at: 'host', link }, by)
      t.equal(await own.observeLink('host', link, by), undefined, `${link} is gone when it is said to be`)
    }),
  )
  const left = (await kernel.observeOwnLinks(by)).map(({ name }) => name)
  t.same(left.toSorted(), names.slice(90).toSorted())
  t.ok(await kernel.observeLink('host', parseIfName('foreign0'), by), 'somebody else’s is there')
  // The kernel acknowledges removals later than it tells of them, and their sockets are in use until then.
  await until('idle sockets are bounded', () => descriptors() <= before + 8)
})

t.test('a link that is gone already is ENODEV to who removes it, and ends nobody else’s wait', async t => {
  t.teardown(cleanNode)
  using host = new KernelHost(addon)
  const by = Deadline.in(10_000)
  const none = [1, 2, 3, 4, 5, 6].map(number => host.removeLink(0x7000_0000 + number, by))
  for (const outcome of await Promise.allSettled(none))
    t.match(outcome, { status: 'rejected', reason: { code: 'ENODEV' } })
})

t.test('replaceRuleset() touches no other table, and takes back what somebody added to ours (invariant 4)', async t => {
  using kernel = openLinuxKernel(addon, { exchange: 'sync' })
  t.teardown(cleanNode)
  const by = Deadline.in(10_000)
  await node.run(['nft', 'add table inet foreign; add chain inet foreign c; add rule inet foreign c counter accept'])
  await node.run(['nft', 'add table ip tulle; add chain ip tulle c'])
  const foreign = async () => [
    await node.run(['nft', '-a', 'list', 'table', 'inet', 'foreign']),
    await node.run(['nft', '-a', 'list', 'table', 'ip', 'tulle']),
  ]
  const before = await foreign()
  await kernel.replaceRuleset(NODE_RULESET, by)
  const written = await node.run(['nft', '--stateless', 'list', 'table', 'inet', 'tulle'])
  await node.run(['nft', 'add', 'rule', 'inet', 'tulle', 'from-pods', 'accept'])
  t.equal(await kernel.hasRuleset(NODE_RULESET, by), false, 'a rule too many')
  await kernel.replaceRuleset(NODE_RULESET, by)
  t.equal(await node.run(['nft', '--stateless', 'list', 'table', 'inet', 'tulle']), written)
  t.same(await foreign(), before)
})

t.test('openLinuxKernel() refuses what is no network namespace, and knows its own', async t => {
  t.throws(() => openLinuxKernel(addon, { podNetnsPath: '/run/netns/none', exchange: 'sync' }), { code: 'ENOENT' })
  t.throws(() => openLinuxKernel(addon, { podNetnsPath: '/etc/hostname', exchange: 'sync' }), { code: 'ENOTNETNS' })
  using kernel = openLinuxKernel(addon, { podNetnsPath: '/proc/self/ns/net', exchange: 'sync' })
  t.equal(kernel.podIsHost, true)
})

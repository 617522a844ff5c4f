import './harness/isolated.ts'
import { resolve } from 'node:path'
import t from 'tap'
import { watchNode } from '../../lib/kernel/node-changes.ts'
import { openLinuxNodeKernel } from '../../lib/kernel/linux-node-kernel.ts'
import { deleteNftTable, readNftChains } from '../../lib/kernel/node-nftables.ts'
import { nodeKernelContract } from '../../lib/kernel/node-kernel-contract.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import { loadAddon } from '../../native/addon.ts'
import { buildAddon } from '../../native/build.ts'
import { Netns } from './harness/namespace.ts'
import { until } from './harness/until.ts'

const FILE = resolve(import.meta.dirname, '../../dist/bin/lib/tulle.node')
await buildAddon(FILE)
const addon = loadAddon(FILE)
const node = Netns.own()
await node.run(['ip', 'link', 'set', 'lo', 'up'])

nodeKernelContract('linux', async () => {
  // A dummy device would do, but not every kernel has the module.
  await node.run(['ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other'])
  for (const end of ['eth0', 'other']) await node.run(['ip', 'link', 'set', end, 'addrgenmode', 'none', 'up'])
  await node.run(['ip', 'address', 'add', '192.0.2.1/24', 'dev', 'eth0'])
  await node.run(['ip', 'address', 'add', '2001:db8::1/64', 'dev', 'eth0', 'nodad'])
  const kernel = openLinuxNodeKernel(addon)
  return {
    kernel,
    async addForeignRoute({ to, metric }) {
      const family = to.includes(':') ? '-6' : '-4'
      await node.run(['ip', family, 'route', 'add', to, 'dev', 'eth0', 'proto', 'static', 'metric', String(metric)])
    },
    async dispose() {
      kernel[Symbol.dispose]()
      for (const link of ['vx-tulle', 'eth0']) await node.execute(['ip', 'link', 'delete', link])
    },
  }
})

t.test('readNftChains() sees the chains of everybody, with hook and policy', async t => {
  const soon = (): Deadline => Deadline.in(10_000)
  t.strictSame(await readNftChains(addon, soon()), [], 'none where there are none')
  const tables = `
    add table ip filter
    add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }
    add chain ip filter DOCKER-USER
    add table inet firewalld
    add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }
    add table bridge guard
    add chain bridge guard in { type filter hook input priority 0; policy drop; }
    add table arp guard
    add chain arp guard in { type filter hook input priority 0; policy accept; }`
  await node.run(['nft', tables])
  t.teardown(() => node.run(['nft', 'flush', 'ruleset']))
  t.strictSame(
    new Set(await readNftChains(addon, soon())),
    new Set([
      { family: 'ip', table: 'filter', name: 'FORWARD', base: { hook: 'forward', policy: 'drop' } },
      { family: 'ip', table: 'filter', name: 'DOCKER-USER' },
      { family: 'inet', table: 'firewalld', name: 'filter_FORWARD', base: { hook: 'forward', policy: 'accept' } },
      { family: 'bridge', table: 'guard', name: 'in', base: { hook: 'input', policy: 'drop' } },
      // What its hooks are called is of no use here.
      { family: '3', table: 'guard', name: 'in', base: { hook: '0', policy: 'accept' } },
    ]),
  )
})

t.test("deleteNftTable() deletes our table, twice, and nobody else's", async t => {
  await node.run(['nft', 'add table inet tulle; add chain inet tulle x; add table inet other'])
  for (const time of ['once', 'twice']) {
    await deleteNftTable(addon, Deadline.in(10_000))
    t.strictSame((await node.run(['nft', 'list', 'tables'])).trim(), 'table inet other', time)
  }
  await node.run(['nft', 'flush', 'ruleset'])
})

t.test('watchNode() tells of what matters to routes, and not of pods', async t => {
  await node.run(['ip', 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'other'])
  t.teardown(() => node.run(['ip', 'link', 'delete', 'eth0']))
  const stop = new AbortController()
  t.teardown(() => stop.abort())
  let told = 0
  let markers = 0
  const watching = watchNode(addon, {
    signal: stop.signal,
    isOverlay: () => false,
    onChange: () => (told += 1),
  })
  const tells = async (what: string, command: readonly string[]): Promise<void> => {
    const before = told
    await node.run(command as [string, ...string[]])
    await until(what, () => told > before)
    await settled()
  }
  /** Waits until what was done before has been told: a route of ours is one notification, and comes after it. */
  const settled = async (): Promise<void> => {
    const before = told
    markers += 1
    await node.run(['ip', 'route', 'add', `10.8.${markers}.0/24`, 'dev', 'lo', 'proto', '118'])
    await until('the marker is told', () => told > before)
  }
  await tells('a link that comes up is told', ['ip', 'link', 'set', 'eth0', 'up'])
  await tells('an MTU is told', ['ip', 'link', 'set', 'eth0', 'mtu', '1400'])
  await tells('an address is told', ['ip', 'address', 'add', '192.0.2.1/24', 'dev', 'eth0'])
  await tells('a route of ours is told', ['ip', 'route', 'add', '10.9.0.0/24', 'dev', 'eth0', 'proto', '118'])
  await tells('its removal is told', ['ip', 'route', 'delete', '10.9.0.0/24', 'proto', '118'])

  const before = told
  await node.run(['ip', 'link', 'add', 'tulpod', 'type', 'veth', 'peer', 'name', 'tulother'])
  await node.run(['ip', 'address', 'add', '10.9.1.1/32', 'dev', 'tulpod'])
  await node.run(['ip', 'link', 'set', 'tulpod', 'up'])
  await node.run(['ip', 'route', 'add', '10.9.2.0/24', 'dev', 'eth0', 'proto', '117'])
  await node.run(['ip', 'link', 'delete', 'tulpod'])
  await settled()
  t.equal(told - before, 1, 'one: the marker')
  stop.abort()
  await watching
})

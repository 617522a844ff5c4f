import t from 'tap'
import { parseAddress } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { formatPrefix, parseAddressWithLength } from '../net/prefix.ts'
import type { FakeLink } from '../kernel/fake-netns.ts'
import { BRIDGE_ALIAS, LINK_GROUP } from '../plan/marks.ts'
import { renderOperation } from '../plan/render.ts'
import { FakeNode, operationsIn } from './fake-edges.ts'

const BRIDGE = { mode: 'bridge', isDefaultGateway: true }
const CNI0 = parseIfName('cni0')

function bridgeOf(node: FakeNode): FakeLink {
  const link = node.host.link(CNI0)
  if (link === undefined) throw new Error('no cni0')
  return link
}

/** A bridge as an administrator or another plugin makes it. */
function addForeignBridge(node: FakeNode, ...addresses: readonly string[]): FakeLink {
  const link = node.host.addLink({ name: CNI0, mac: parseMac('02:00:00:00:0f:0f'), mtuBytes: 1500, kind: 'bridge' })
  if (typeof link === 'string') throw new Error(link)
  node.host.setUp(link)
  for (const address of addresses) node.host.addAddress(link, parseAddressWithLength(address))
  return link
}

function heldBy(link: FakeLink): readonly string[] {
  return link.addresses.map(({ address }) => formatPrefix(address)).toSorted()
}

t.test('add() makes the bridge once, and finds it whole at the next pod', async t => {
  const node = new FakeNode()
  t.equal((await node.run('ADD', { config: BRIDGE })).exitCode, 0)
  const first = operationsIn(node.steps).length
  node.addPod('/run/netns/two')
  t.equal((await node.run('ADD', { config: BRIDGE, containerId: 'c2', netns: '/run/netns/two' })).exitCode, 0)
  const again = operationsIn(node.steps)
    .slice(first)
    .filter(step => 'link' in step && step.link === CNI0)
  t.strictSame(again.map(renderOperation), [])
  t.match(bridgeOf(node), { group: LINK_GROUP, alias: BRIDGE_ALIAS, isUp: true, mtuBytes: 1480 })
})

t.test('add() of every pod mends a bridge of ours that somebody has changed', async t => {
  const node = new FakeNode()
  await node.run('ADD', { config: BRIDGE })
  await node.run('DEL', { config: BRIDGE })
  const link = bridgeOf(node)
  const before = heldBy(link)
  Object.assign(link, { isUp: false, alias: 'x', addresses: [] })
  node.host.setSysctl('net/ipv6/conf/cni0/accept_ra', '1')
  t.equal((await node.run('ADD', { config: BRIDGE })).exitCode, 0)
  t.match(link, { isUp: true, alias: BRIDGE_ALIAS })
  t.strictSame(heldBy(link), before)
  t.equal(node.host.sysctls.get('net/ipv6/conf/cni0/accept_ra'), '0')
})

t.test('add() survives another ADD that makes the bridge at the same moment', async t => {
  const node = new FakeNode()
  node.fault = step => {
    if (typeof step === 'string' || step.do !== 'add-bridge' || node.host.link(CNI0) !== undefined) return undefined
    const link = node.host.addLink({
      ...step,
      name: CNI0,
      mac: parseMac('02:00:00:00:0a:0a'),
      kind: 'bridge',
      group: LINK_GROUP,
    })
    if (typeof link === 'string') throw new Error(link)
    return undefined
  }
  const added = await node.run('ADD', { config: BRIDGE })
  t.equal(added.exitCode, 0, added.stdout)
  t.ok(
    heldBy(bridgeOf(node)).includes('fe80::ff:fe00:a0a/64'),
    'the link-local address is that of the bridge that is there',
  )
  t.equal((await node.run('CHECK', { config: { ...BRIDGE, prevResult: added.json } })).stdout, '')
})

t.test('add() uses a bridge of somebody else as it is, and changes nothing of it (invariant 4)', async t => {
  const node = new FakeNode()
  const link = addForeignBridge(node, '10.244.1.1/24', 'fd00:10:244:1::1/64')
  const before = JSON.stringify([heldBy(link), link.alias, link.group, link.hasNoLinkLocal, link.mac])
  const added = await node.run('ADD', { config: BRIDGE })
  t.equal(added.exitCode, 0, added.stdout)
  t.equal((await node.run('CHECK', { config: { ...BRIDGE, prevResult: added.json } })).stdout, '')
  t.equal((await node.run('DEL', { config: BRIDGE })).exitCode, 0)
  t.equal(JSON.stringify([heldBy(link), link.alias, link.group, link.hasNoLinkLocal, link.mac]), before)
})

const REFUSED = [
  {
    name: 'a bridge of somebody else without the gateway',
    prepare: (node: FakeNode) => void addForeignBridge(node, '10.244.1.1/24'),
    msg: /^host link cni0 exists already: somebody else made it, and bridge cni0 has no address fd00:10:244:1::1\/64/,
  },
  {
    name: 'a bridge of somebody else that is down',
    prepare: (node: FakeNode) => void (addForeignBridge(node, '10.244.1.1/24', 'fd00:10:244:1::1/64').isUp = false),
    msg: /and bridge cni0 is down$/,
  },
  {
    name: 'a name that is no bridge',
    prepare: (node: FakeNode) =>
      void node.host.addLink({ name: CNI0, mac: parseMac('02:00:00:00:0f:0f'), mtuBytes: 1500, kind: 'veth' }),
    msg: /^host link cni0 exists already: it is a veth$/,
  },
] as const
for (const { name, prepare, msg } of REFUSED) {
  t.test(`add() refuses ${name}, and gives the lease back`, async t => {
    const node = new FakeNode()
    prepare(node)
    const before = node.render()
    t.match((await node.run('ADD', { config: BRIDGE })).json, { code: 103, msg })
    t.equal(node.render(), before)
    t.equal(node.ipam.leases.size, 0)
  })
}

t.test('add() with forceAddress replaces what overlaps with the gateway, and without it refuses', async t => {
  const node = new FakeNode()
  await node.run('ADD', { config: BRIDGE })
  await node.run('DEL', { config: BRIDGE })
  const link = bridgeOf(node)
  link.addresses = [{ address: parseAddressWithLength('10.244.0.1/16'), isTentative: false }]
  t.match((await node.run('ADD', { config: BRIDGE })).json, {
    code: 103,
    msg: /its address 10\.244\.0\.1\/16 overlaps with 10\.244\.1\.1\/24 .*want forceAddress/,
  })
  t.equal((await node.run('ADD', { config: { ...BRIDGE, forceAddress: true } })).exitCode, 0)
  t.notOk(heldBy(link).includes('10.244.0.1/16'))
  t.ok(heldBy(link).includes('10.244.1.1/24'))
})

t.test('add() without isGateway gives the node no address on the bridge, and switches no forwarding on', async t => {
  const node = new FakeNode()
  const { exitCode, json } = await node.run('ADD', { config: { mode: 'bridge' } })
  t.equal(exitCode, 0)
  t.strictSame(heldBy(bridgeOf(node)), [])
  t.equal(node.host.sysctls.get('net/ipv4/ip_forward'), '0')
  t.notOk('routes' in (json ?? {}), 'and the pod no route beside that of its link')
})

t.test('add() takes the gateway and the routes of a delegated IPAM plugin', async t => {
  const node = new FakeNode()
  node.delegate.result = {
    cniVersion: '1.1.0',
    ips: [{ address: '10.9.0.7/24', gateway: '10.9.0.254' }],
    routes: [{ dst: '10.0.0.0/8' }, { dst: '10.1.0.0/16', gw: '10.9.0.5' }],
  }
  const { json } = await node.run('ADD', { config: { ...BRIDGE, ipam: { type: 'host-local' } } })
  t.match(json, {
    ips: [{ address: '10.9.0.7/24', gateway: '10.9.0.254' }],
    routes: [
      { dst: '10.0.0.0/8', gw: '10.9.0.254' },
      { dst: '10.1.0.0/16', gw: '10.9.0.5' },
      { dst: '0.0.0.0/0', gw: '10.9.0.254' },
    ],
  })
  t.strictSame(heldBy(bridgeOf(node)), ['10.9.0.254/24'])
})

t.test('add() refuses an address that leaves no room for the gateway', async t => {
  for (const [address, msg] of [
    ['10.9.0.1/24', /the pod is to have the address of its gateway, 10\.9\.0\.1/],
    ['10.9.0.7/32', /10\.9\.0\.7\/32 has no room for a gateway/],
  ] as const) {
    const node = new FakeNode()
    node.delegate.result = { cniVersion: '1.1.0', ips: [{ address }] }
    t.match((await node.run('ADD', { config: { ...BRIDGE, ipam: { type: 'host-local' } } })).json, { code: 104, msg })
    t.strictSame(node.delegate.verbs, ['ADD', 'DEL'], 'and gives it back (A8)')
  }
})

t.test('check() takes a hardware address that a later plugin gave the pod from prevResult (K4)', async t => {
  const node = new FakeNode()
  const { json } = await node.run('ADD', { config: BRIDGE })
  const mac = parseMac('02:00:00:00:be:ef')
  const pod = node.host.links.find(({ name }) => name.startsWith('tul'))?.peer?.link
  if (pod !== undefined) pod.mac = mac
  const made = json?.['interfaces'] as readonly object[]
  const interfaces = made.map((each, index) => (index === 2 ? { ...each, mac } : each))
  const { stdout } = await node.run('CHECK', { config: { ...BRIDGE, prevResult: { ...json, interfaces } } })
  t.equal(stdout, '')
  t.match(
    (await node.run('CHECK', { config: { ...BRIDGE, prevResult: json } })).json,
    { code: 106 },
    'and only from there',
  )
})

for (const config of [{}, BRIDGE]) {
  t.test(
    `add() gives the pod the hardware address that is asked for, and neighbours know it: ${JSON.stringify(config)}`,
    async t => {
      const node = new FakeNode()
      const mac = '02:00:00:00:aa:bb'
      const all = { ...config, runtimeConfig: { mac } }
      const added = await node.run('ADD', { config: all })
      const host = node.host.links.find(({ name }) => name.startsWith('tul'))
      t.equal(host?.peer?.link.mac, mac)
      const { interfaces } = added.json as { readonly interfaces: readonly { readonly mac?: string }[] }
      t.equal(interfaces.at(-1)?.mac, mac)
      const known = host?.neighbours.filter(({ address }) => address.value === parseAddress('10.244.1.2').value)
      t.strictSame(
        known?.map(entry => entry.mac),
        'mode' in config ? [] : [mac],
      )
      t.equal((await node.run('CHECK', { config: { ...all, prevResult: added.json } })).stdout, '')
      t.match(
        (await node.run('ADD', { containerId: 'c2', config: { runtimeConfig: { mac: '01:00:5e:00:00:01' } } })).json,
        { code: 7 },
      )
    },
  )
}

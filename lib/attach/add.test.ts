import t from 'tap'
import { IpamProblem } from '../ipam/errors.ts'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { hostIfNameOf, macOf } from '../plan/link-names.ts'
import { LINK_GROUP } from '../plan/marks.ts'
import { FakeNode, POD_PATH, UPLINK_MTU_BYTES, type FakeRun } from './fake-edges.ts'

const ATTACHMENT = { network: 'net1', containerId: 'c1', ifName: 'eth0' }
const HOST_IF_NAME = hostIfNameOf(ATTACHMENT)
const ETH0 = parseIfName('eth0')

const FAMILIES = [
  { name: 'IPv4', families: [4], ips: ['10.244.1.2/32'], routes: ['0.0.0.0/0'], gateways: ['169.254.1.1'] },
  { name: 'IPv6', families: [6], ips: ['fd00:10:244:1::2/128'], routes: ['::/0'], gateways: ['fe80::1'] },
  {
    name: 'both families',
    families: [4, 6],
    ips: ['10.244.1.2/32', 'fd00:10:244:1::2/128'],
    routes: ['0.0.0.0/0', '::/0'],
    gateways: ['169.254.1.1', 'fe80::1'],
  },
] as const

for (const { name, families, ips, routes, gateways } of FAMILIES) {
  t.test(`add() of ${name} gives what containerd looks for (A4, A5, A6)`, async t => {
    const node = new FakeNode()
    node.ipam.families = families
    const { exitCode, json } = await node.run('ADD')
    t.equal(exitCode, 0, JSON.stringify(json))
    t.strictSame(json, {
      cniVersion: '1.1.0',
      interfaces: [
        { name: HOST_IF_NAME, mac: macOf(ATTACHMENT, 'host'), mtu: UPLINK_MTU_BYTES },
        { name: 'eth0', mac: macOf(ATTACHMENT, 'pod'), mtu: UPLINK_MTU_BYTES, sandbox: POD_PATH },
      ],
      ips: ips.map((address, index) => ({ address, gateway: gateways[index], interface: 1 })),
      routes: routes.map((dst, index) => ({ dst, gw: gateways[index] })),
    })
    t.equal(node.openHandles, 0, 'no kernel left open, no lock left held')
  })
}

t.test('add() leaves no address tentative and both ends up (R15)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  const ends = [node.host.link(HOST_IF_NAME), node.pods.get(POD_PATH)?.link(ETH0)]
  t.same(
    ends.map(link => link?.isUp),
    [true, true],
  )
  t.same(
    ends.flatMap(link => link?.addresses ?? []).filter(({ isTentative }) => isTentative),
    [],
  )
})

t.test('add() leases before it touches the kernel (invariant 2)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  t.equal(node.events[0], 'ipamd: allocate net1/c1/eth0')
  t.equal(node.events.at(-1), 'ipamd: durable', 'and answers when the lease would survive a loss of power')
})

t.test('add() takes everything back when its lease does not get to the disk (invariant 2, A9)', async t => {
  const node = new FakeNode()
  const before = node.render()
  node.ipam.isDiskBroken = true
  t.match((await node.run('ADD')).json, { code: 104, msg: /Cannot sync lease store x: EIO/ })
  t.equal(node.render(), before)
  t.equal(node.ipam.released.length, 1)
})

t.test('add() is answered by two pods in parallel, each with its own interface and lease (A10)', async t => {
  const node = new FakeNode()
  node.addPod('/run/netns/other')
  const both = await Promise.all([node.run('ADD'), node.run('ADD', { containerId: 'c2', netns: '/run/netns/other' })])
  t.same(
    both.map(({ exitCode }) => exitCode),
    [0, 0],
  )
  t.equal(node.host.links.filter(({ group }) => group === LINK_GROUP).length, 2)
  t.equal(node.ipam.leases.size, 2)
})

t.test('add() passes prevResult on and puts its own after it (A2)', async t => {
  const node = new FakeNode()
  const prevResult = {
    cniVersion: '1.0.0',
    interfaces: [{ name: 'net1', sandbox: POD_PATH }],
    ips: [{ address: '192.0.2.7/24', interface: 0 }],
    routes: [{ dst: '192.0.2.0/24' }],
    dns: { nameservers: ['192.0.2.53'] },
  }
  const { json } = await node.run('ADD', { config: { cniVersion: '1.0.0', prevResult } })
  t.match(json, {
    interfaces: [{ name: 'net1' }, { name: HOST_IF_NAME }, { name: 'eth0' }],
    dns: { nameservers: ['192.0.2.53'] },
  })
  t.match(json, {
    ips: [{ address: '192.0.2.7/24', interface: 0 }, { address: '10.244.1.2/32', interface: 2 }, { interface: 2 }],
  })
  t.match(json, { routes: [{ dst: '192.0.2.0/24' }, { dst: '0.0.0.0/0' }, { dst: '::/0' }] })
})

t.test('add() takes resolver settings of the configuration before those of an IPAM plugin (A7)', async t => {
  const node = new FakeNode()
  node.delegate.result = {
    cniVersion: '1.1.0',
    ips: [{ address: '10.9.0.7/24' }],
    dns: { nameservers: ['10.9.0.53'], domain: 'ipam' },
  }
  const { json } = await node.run('ADD', {
    config: { ipam: { type: 'host-local' }, dns: { nameservers: ['198.51.100.53'] } },
  })
  t.same(json?.['dns'], { nameservers: ['198.51.100.53'], domain: 'ipam' })
})

t.test('add() routes ipsToRouteViaHost by themselves, in the families that the pod has', async t => {
  const node = new FakeNode()
  node.ipam.families = [4]
  const { json } = await node.run('ADD', { config: { ipsToRouteViaHost: ['169.254.20.10', 'fd00::10'] } })
  t.same(json?.['routes'], [
    { dst: '0.0.0.0/0', gw: '169.254.1.1' },
    { dst: '169.254.20.10/32', gw: '169.254.1.1' },
  ])
})

const MTUS = [
  { name: 'takes the MTU of the device of the default route (R27)', config: {}, want: UPLINK_MTU_BYTES },
  {
    name: 'takes the smaller MTU where the families leave by two devices (R27)',
    ipv6UplinkMtuBytes: 1400,
    config: {},
    want: 1400,
  },
  { name: 'takes 1500 on a node that leads nowhere', isAlone: true, config: {}, want: 1500 },
  { name: 'takes the MTU of the configuration before all', config: { mtu: 9000 }, want: 9000 },
  {
    name: 'takes an MTU that is too small for IPv6 where there is none',
    families: [4],
    config: { mtu: 1279 },
    want: 1279,
  },
  { name: 'takes the smallest MTU that IPv6 has', config: { mtu: 1280 }, want: 1280 },
] as const
for (const c of MTUS) {
  t.test(`add() ${c.name}`, async t => {
    const node = new FakeNode()
    if ('families' in c) node.ipam.families = c.families
    if ('isAlone' in c) node.host.routes = []
    if ('ipv6UplinkMtuBytes' in c) leaveByAnotherLink(node, c.ipv6UplinkMtuBytes)
    const { exitCode, json } = await node.run('ADD', { config: c.config })
    t.equal(exitCode, 0, JSON.stringify(json))
    const ends = [node.host.link(HOST_IF_NAME), node.pods.get(POD_PATH)?.link(ETH0)]
    t.same(
      ends.map(link => link?.mtuBytes),
      [c.want, c.want],
    )
  })
}

interface Refusal {
  readonly name: string
  readonly prepare?: (node: FakeNode) => void
  readonly run?: FakeRun
  readonly code: number
  readonly msg: RegExp
}

/** What ADD refuses before or after it has a lease: each time nothing may be left. */
const REFUSALS: readonly Refusal[] = [
  {
    name: 'the namespace of the plugin itself (E9)',
    prepare: node => node.pods.set(POD_PATH, node.host),
    code: 8,
    msg: /^CNI_NETNS \/run\/netns\/pod is the namespace of the plugin itself$/,
  },
  {
    name: 'a namespace that is not there',
    run: { netns: '/run/netns/gone' },
    code: 8,
    msg: /\/run\/netns\/gone: ENOENT/,
  },
  {
    name: 'an MTU that IPv6 cannot have (R27)',
    run: { config: { mtu: 1279 } },
    code: 7,
    msg: /^mtu 1279 is too small for IPv6: want at least 1280$/,
  },
  {
    name: 'IPv6 on a node that has it switched off, by the name of the setting',
    prepare: node => node.host.setSysctl('net/ipv6/conf/all/disable_ipv6', '1'),
    code: 102,
    msg: /net\/ipv6\/conf\/all\/disable_ipv6 is 1 on this node: want 0$/,
  },
  {
    name: 'an interface in the pod that somebody else made (A1)',
    prepare: node =>
      node.pods.get(POD_PATH)?.addLink({ name: ETH0, mac: parseMac('02:00:00:00:00:07'), mtuBytes: 1500 }),
    code: 103,
    msg: /^eth0 in \/run\/netns\/pod exists already: somebody else made it$/,
  },
  {
    name: 'a host link of its name that somebody else made (R22)',
    prepare: node => addHostLink(node, { group: 0, alias: 'docker0 uplink' }),
    code: 103,
    msg: new RegExp(`^host link ${HOST_IF_NAME} exists already: its alias is 'docker0 uplink'$`),
  },
  {
    name: 'a host link of its name without alias that is not in our group (invariant 4)',
    prepare: node => addHostLink(node, { group: 0 }),
    code: 103,
    msg: /exists already/,
  },
  {
    name: 'a host link of another attachment whose name collides (R22)',
    prepare: node => addHostLink(node, { alias: 'tulle/1 eth0 other net1' }),
    code: 103,
    msg: /its alias is 'tulle\/1 eth0 other net1'$/,
  },
  { name: 'while ipamd is down', prepare: node => void (node.ipam.state = 'down'), code: 11, msg: /ECONNREFUSED$/ },
  {
    name: 'when the pool is empty',
    prepare: node => void (node.ipam.state = 'exhausted'),
    code: 101,
    msg: /all 253 addresses/,
  },
  {
    name: 'while somebody else works on the attachment',
    prepare: node => node.lockedElsewhere.add('net1/c1/eth0'),
    code: 11,
    msg: /waiting for the lock of net1\/c1\/eth0$/,
  },
  {
    name: 'a request for an address that is none, by key and value',
    run: { env: { CNI_ARGS: 'IP=10.0.0' } },
    code: 7,
    msg: /^IP in CNI_ARGS: Cannot parse address "10\.0\.0"/,
  },
]
for (const { name, prepare, run, code, msg } of REFUSALS) {
  t.test(`add() refuses ${name}`, async t => {
    const node = new FakeNode()
    prepare?.(node)
    const before = node.render()
    const { exitCode, json } = await node.run('ADD', run)
    t.match([exitCode, json], [1, { cniVersion: '1.1.0', code, msg }])
    t.equal(node.render(), before, 'nothing is changed')
    t.equal(node.openHandles, 0)
  })
}

t.test('add() wires the plugin’s own namespace when it is told to (E9)', async t => {
  const node = new FakeNode()
  node.pods.set(POD_PATH, node.host)
  node.host.routes = [] // a default route of its own would be in the pod's way
  const { exitCode, json } = await node.run('ADD', { env: { CNI_NETNS_OVERRIDE: '1' } })
  t.equal(exitCode, 0, JSON.stringify(json))
})

t.test('add() refuses IPv6 by name on a kernel that runs without it, and serves IPv4 there', async t => {
  const node = new FakeNode({ hasIpv6: false })
  t.match((await node.run('ADD')).json, { code: 102, msg: /the kernel of this node runs without IPv6$/ })
  node.ipam.families = [4]
  const { exitCode, json } = await node.run('ADD')
  t.equal(exitCode, 0, JSON.stringify(json))
})

for (const place of ['host', 'pod'] as const) {
  t.test(`add() gives IPv6 where new links of the ${place} come without it`, async t => {
    const node = new FakeNode()
    const netns = place === 'host' ? node.host : node.pods.get(POD_PATH)
    netns?.setSysctl('net/ipv6/conf/default/disable_ipv6', '1')
    const { exitCode, json } = await node.run('ADD')
    t.equal(exitCode, 0, JSON.stringify(json))
  })
}

t.test('add() refuses a pod that is attached already, and leaves it as it is (A1)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  const before = node.render()
  t.match((await node.run('ADD')).json, {
    code: 103,
    msg: /^eth0 in \/run\/netns\/pod exists already: .*want DEL first$/,
  })
  t.equal(node.render(), before, 'the interface and the lease of the first ADD')
  t.same(node.ipam.released, [])
})

t.test('add() leaves an interface in use alone when ipamd refuses at the same time (A1, D5)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  const before = node.render()
  node.ipam.allocate = () => Promise.reject(new IpamProblem('store-failed', 'disk full'))
  t.match((await node.run('ADD')).json, { code: 103, msg: /want DEL first$/ })
  t.equal(node.render(), before)
  t.same(node.ipam.released, [])
})

t.test('add() gives back what it was leased beside an interface of somebody else', async t => {
  const node = new FakeNode()
  node.pods.get(POD_PATH)?.addLink({ name: ETH0, mac: parseMac('02:00:00:00:00:07'), mtuBytes: 1500 })
  t.match((await node.run('ADD')).json, { code: 103, msg: /somebody else made it$/ })
  t.same([node.ipam.leases.size, node.ipam.released], [0, ['net1/c1/eth0']])
})

const LEFTOVERS = [
  { name: 'killed before its alias was set', prepare: (node: FakeNode) => delete node.host.link(HOST_IF_NAME)?.alias },
  { name: 'killed before its end', prepare: (node: FakeNode) => setAlias(node, 'tulle/1 adding eth0 c1 net1') },
  { name: 'that wired a namespace which is no longer the container’s', prepare: moveToOldNetns },
] as const
for (const { name, prepare } of LEFTOVERS) {
  t.test(`add() reclaims what is left of an ADD ${name} (A11, R4)`, async t => {
    const node = new FakeNode()
    const first = await node.run('ADD')
    prepare(node)
    const { exitCode, json } = await node.run('ADD')
    t.equal(exitCode, 0, JSON.stringify(json))
    t.same(json, first.json, 'the same addresses, and the same names')
    t.equal(node.host.links.filter(({ group }) => group === LINK_GROUP).length, 1)
    t.equal((await node.run('CHECK', { config: { prevResult: json } })).exitCode, 0, 'whole')
  })
}

t.test('add() says in the log what it changes of the node, once, and keeps router advertisements working', async t => {
  const node = new FakeNode()
  const uplink = node.host.link(parseIfName('uplink'))
  if (uplink === undefined) throw new Error('no uplink')
  node.host.routes = node.host.routes.map(route => ({
    ...route,
    protocol: route.to.address.family === 6 ? 9 : route.protocol,
  }))
  await node.run('ADD')
  t.same(node.log, [
    'node: sysctl net/ipv4/ip_forward set to 1: pods need it',
    'node: sysctl net/ipv6/conf/uplink/accept_ra set to 2: pods need it',
    'node: sysctl net/ipv6/conf/all/forwarding set to 1: pods need it',
    'node: nftables table inet tulle written: packets with forged source addresses are dropped',
  ])
  node.addPod('/run/netns/other')
  await node.run('ADD', { containerId: 'c2', netns: '/run/netns/other' })
  t.equal(node.log.length, 4, 'a second pod changes nothing of the node')
})

function addHostLink(
  node: FakeNode,
  { group = LINK_GROUP, alias }: { readonly group?: number; readonly alias?: string },
): void {
  const link = node.host.addLink({ name: HOST_IF_NAME, mac: parseMac('02:00:00:00:00:07'), mtuBytes: 1500, group })
  if (typeof link !== 'string' && alias !== undefined) link.alias = alias
}

function setAlias(node: FakeNode, alias: string): void {
  const link = node.host.link(HOST_IF_NAME)
  if (link !== undefined) link.alias = alias
}

/** The container has got a new namespace; the old one, with the other end in it, lives on. */
function moveToOldNetns(node: FakeNode): void {
  const old = node.pods.get(POD_PATH)
  if (old !== undefined) node.pods.set('/run/netns/old', old)
  node.addPod(POD_PATH)
}

function leaveByAnotherLink(node: FakeNode, mtuBytes: number): void {
  const link = node.host.addLink({ name: parseIfName('uplink6'), mac: parseMac('02:00:00:00:00:98'), mtuBytes })
  if (typeof link === 'string') throw new Error(link)
  link.isUp = true
  node.host.routes = node.host.routes.map(route => (route.to.address.family === 6 ? { ...route, link } : route))
}

t.test('add() whose answer was lost is answered again, with the same result', async t => {
  const node = new FakeNode()
  const first = await node.run('ADD')
  const granted = node.ipam.leases.get('net1/c1/eth0')?.leasedAtUnixMs ?? 0
  const again = await node.run('ADD', { env: { TULLE_ASKED_AT: String(granted) } })
  t.equal(again.exitCode, 0, again.stdout)
  t.equal(again.stdout, first.stdout)
  t.equal(node.host.links.filter(({ group }) => group === LINK_GROUP).length, 1)
  t.equal((await node.run('CHECK', { config: { prevResult: again.json } })).stdout, '')
})

t.test('add() refuses an interface that is older than the call whose answer was lost: it is in use (A1)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  const granted = node.ipam.leases.get('net1/c1/eth0')?.leasedAtUnixMs ?? 0
  const before = JSON.stringify(node.host.links.map(({ name, index }) => [name, index]))
  for (const asked of [String(granted + 1), '', 'then', '1e3', '-1']) {
    const again = await node.run('ADD', { env: { TULLE_ASKED_AT: asked } })
    t.match(again.json, { code: 103 }, asked)
  }
  t.equal(JSON.stringify(node.host.links.map(({ name, index }) => [name, index])), before)
  t.equal(node.ipam.leases.size, 1)
})

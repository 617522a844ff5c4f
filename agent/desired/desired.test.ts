import t from 'tap'
import { FakeNodeKernel } from '../../lib/kernel/fake-node-kernel.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { parseIfName } from '../../lib/net/if-name.ts'
import { formatPrefix, parseAddressWithLength, parsePrefix } from '../../lib/net/prefix.ts'
import type { ObservedNode } from '../../lib/plan/node-kernel.ts'
import { renderNodeOperation } from '../../lib/plan/node-operation.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import { overlayGatewayOf, overlayMacOf, type ClusterNode } from './cluster.ts'
import { desiredNode, type DesiredNode, type RoutingMode } from './desired.ts'
import { diffNode } from './diff-node.ts'

// Reads like a shell session: what the agent would type on a fresh node.

const soon = (): Deadline => Deadline.in(1_000)

function node(
  name: string,
  more: { readonly cidrs?: readonly string[]; readonly ips?: readonly string[]; readonly age?: number },
): ClusterNode {
  const { cidrs = [], ips = [], age = 0 } = more
  return {
    name,
    uid: name,
    createdAtUnixMs: age,
    podCidrs: cidrs.map(parsePrefix),
    internalIps: ips.map(parseAddress),
  }
}

const SELF = node('self', { cidrs: ['10.244.0.0/24', 'fd00:0:0:1::/64'], ips: ['192.0.2.1', '2001:db8::1'] })
const NEAR = node('near', { cidrs: ['10.244.1.0/24', 'fd00:0:0:2::/64'], ips: ['192.0.2.2', '2001:db8::2'] })
const FAR = node('far', { cidrs: ['10.244.2.0/24', 'fd00:0:0:3::/64'], ips: ['198.51.100.1', '2001:db8:1::1'] })

async function freshNode(addresses: readonly string[] = ['192.0.2.1/24', '2001:db8::1/64']): Promise<ObservedNode> {
  const kernel = new FakeNodeKernel()
  kernel.addLink(parseIfName('eth0'))
  for (const address of addresses) kernel.addAddress('eth0', parseAddressWithLength(address))
  return await kernel.observe(soon())
}

async function want(mode: RoutingMode, nodes: readonly ClusterNode[], observed?: ObservedNode): Promise<DesiredNode> {
  const settings = { mode, vni: 117, port: 4789 }
  return desiredNode({ nodeName: 'self', settings, nodes, observed: observed ?? (await freshNode()) })
}

async function typed(mode: RoutingMode, nodes: readonly ClusterNode[]): Promise<string> {
  const observed = await freshNode()
  return diffNode(await want(mode, nodes, observed), observed)
    .operations.map(renderNodeOperation)
    .join('\n')
}

t.test('direct: a route by the InternalIP of its family', async t => {
  t.equal(
    await typed('direct', [SELF, NEAR]),
    [
      'ip route add 10.244.1.0/24 via 192.0.2.2 dev eth0 proto 118 metric 1180',
      'ip route add fd00:0:0:2::/64 via 2001:db8::2 dev eth0 proto 118 metric 1180',
    ].join('\n'),
  )
})

t.test('auto: direct where it can be, VXLAN where not', async t => {
  const mac = overlayMacOf('far')
  t.equal(
    await typed('auto', [SELF, NEAR, FAR]),
    [
      `ip link add vx-tulle group 7632236 address ${overlayMacOf('self')} mtu 1450 type vxlan id 117 dstport 4789 local 192.0.2.1 nolearning`,
      'ip link set dev vx-tulle addrgenmode none',
      'ip link set dev vx-tulle up',
      'ip address add 10.244.0.0/32 dev vx-tulle',
      'ip address add fd00:0:0:1::/128 dev vx-tulle nodad',
      `bridge fdb replace ${mac} dev vx-tulle dst 198.51.100.1 self permanent`,
      `ip neighbour replace 10.244.2.0 lladdr ${mac} dev vx-tulle nud permanent`,
      `ip neighbour replace ${formatAddress(overlayGatewayOf(mac))} lladdr ${mac} dev vx-tulle nud permanent`,
      'ip route add 10.244.1.0/24 via 192.0.2.2 dev eth0 proto 118 metric 1180',
      'ip route add fd00:0:0:2::/64 via 2001:db8::2 dev eth0 proto 118 metric 1180',
      'ip route add 10.244.2.0/24 via 10.244.2.0 dev vx-tulle onlink proto 118 metric 1180',
      `ip route add fd00:0:0:3::/64 via ${formatAddress(overlayGatewayOf(mac))} dev vx-tulle proto 118 metric 1180`,
    ].join('\n'),
  )
})

t.test('an overlay of a node with IPv6 alone has IPv6 outside, and room for its larger headers', async t => {
  const self = { ...SELF, internalIps: [parseAddress('2001:db8::1')] }
  t.match(await want('vxlan', [self, NEAR]), { overlay: { local: parseAddress('2001:db8::1'), mtuBytes: 1430 } })
})

const refusals = [
  { name: 'no Node object', nodes: [NEAR], why: /self: the cluster has no Node object/ },
  {
    name: 'no pod CIDR (R30)',
    nodes: [node('self', { ips: ['192.0.2.1'] })],
    why: /self: .*has given this node no pod CIDR/,
  },
  {
    name: 'a peer whose pod CIDR overlaps ours (R31)',
    nodes: [SELF, { ...NEAR, podCidrs: [parsePrefix('10.244.0.0/16')], createdAtUnixMs: 1 }],
    why: /near: pod CIDR 10\.244\.0\.0\/16 overlaps 10\.244\.0\.0\/24 of the older node self/,
  },
  {
    name: "a peer whose pod CIDR holds a node's address",
    nodes: [SELF, { ...NEAR, podCidrs: [parsePrefix('192.0.0.0/16')], createdAtUnixMs: 1 }],
    why: /near: pod CIDR 192\.0\.0\.0\/16 holds 192\.0\.2\.1, the address of the node self/,
  },
  {
    name: "a peer whose pod CIDR is a network on this node's link",
    nodes: [SELF, { ...NEAR, podCidrs: [parsePrefix('192.0.2.128/25')] }],
    why: /near: no route to 192\.0\.2\.128\/25: it overlaps 192\.0\.2\.0\/24, which is on eth0 here/,
  },
  {
    name: 'a peer that is not on the link, in direct',
    mode: 'direct',
    nodes: [SELF, FAR],
    why: /far: no route to 10\.244\.2\.0\/24: .* is on no link/,
  },
  {
    name: 'a peer without an address',
    nodes: [SELF, { ...FAR, internalIps: [] }],
    why: /far: no route to .* no IPv4 InternalIP/,
  },
  {
    name: 'a peer that cannot be read',
    nodes: [SELF, { ...NEAR, podCidrs: [], fault: 'node.spec: strange' }],
    why: /near: node\.spec: strange/,
  },
  {
    name: 'an address of this node that is on no link (R36)',
    nodes: [{ ...SELF, internalIps: [parseAddress('203.0.113.5')] }, FAR],
    why: /far: .* InternalIP 203\.0\.113\.5 is on none of its links/,
  },
] as const

for (const { name, nodes, why, ...rest } of refusals) {
  t.test(`fails closed, and says why: ${name}`, async t => {
    const desired = await want('mode' in rest ? rest.mode : 'auto', nodes)
    t.match(desired.problems.map(({ nodeName, reason }) => `${nodeName}: ${reason}`).join('\n'), why)
    t.strictSame(desired.routes, [])
  })
}

t.test('every node decides alike who keeps a pod CIDR: the older, or the first by name', async t => {
  const one = node('one', { cidrs: ['10.244.9.0/24'], ips: ['192.0.2.7'], age: 5 })
  const two = node('two', { cidrs: ['10.244.9.0/25'], ips: ['192.0.2.8'], age: 4 })
  const routes = async (nodes: readonly ClusterNode[]): Promise<string> =>
    (await want('direct', nodes)).routes.map(({ to }) => formatPrefix(to)).join()
  t.equal(await routes([SELF, one, two]), '10.244.9.0/25')
  t.equal(await routes([two, SELF, one]), '10.244.9.0/25')
  t.equal(await routes([SELF, { ...one, createdAtUnixMs: 4 }, two]), '10.244.9.0/24')
})

t.test("a younger node's address does not take an older node's pods off the network", async t => {
  const thief = node('thief', { cidrs: [], ips: ['10.244.1.9'], age: 9 })
  t.equal((await want('direct', [SELF, NEAR, thief])).routes.length, 2)
})

t.test('a VXLAN device of somebody else is not touched', async t => {
  const kernel = new FakeNodeKernel()
  kernel.addLink(parseIfName('eth0'))
  for (const address of ['192.0.2.1/24', '2001:db8::1/64']) kernel.addAddress('eth0', parseAddressWithLength(address))
  kernel.addLink(parseIfName('vx-tulle'), { kind: 'vxlan' })
  const observed = await kernel.observe(soon())
  const { operations, obstacles } = diffNode(await want('auto', [SELF, NEAR, FAR], observed), observed)
  t.match(obstacles, [/a link called vx-tulle is not ours/])
  t.notOk(operations.some(operation => 'link' in operation && operation.link === 'vx-tulle'))
  t.equal(operations.length, 2, 'what is direct is made')
})

t.test('packets to nodes and their pods keep their source', async t => {
  const { exempt } = await want('auto', [SELF, NEAR])
  t.strictSame(exempt.map(formatPrefix), [
    '10.244.0.0/24',
    '10.244.1.0/24',
    '192.0.2.1/32',
    '192.0.2.2/32',
    '2001:db8::1/128',
    '2001:db8::2/128',
    'fd00:0:0:1::/64',
    'fd00:0:0:2::/64',
  ])
})

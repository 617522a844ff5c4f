import t from 'tap'
import { parseAddress } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { formatPrefix, parseAddressWithLength, parsePrefix } from '../net/prefix.ts'
import {
  bridgeRoutes,
  planBridge,
  planBridgeAttach,
  type BridgeAttachInput,
  type BridgeInput,
  type BridgeRoutesInput,
} from './plan-bridge.ts'
import { renderPlan } from './render.ts'
import { undoOf } from './undo.ts'

const CNI0 = parseIfName('cni0')
const IPV4 = { address: parseAddressWithLength('10.244.1.7/24'), gateway: parseAddress('10.244.1.1') }
const IPV6 = { address: parseAddressWithLength('fd00:10:244:1::7/64'), gateway: parseAddress('fd00:10:244:1::1') }

function bridge(more: Partial<BridgeInput> = {}): BridgeInput {
  return {
    bridge: CNI0,
    mac: parseMac('02:00:00:00:00:0b'),
    mtuBytes: 1450,
    gateways: [parseAddressWithLength('10.244.1.1/24'), parseAddressWithLength('fd00:10:244:1::1/64')],
    isPromiscuous: false,
    hostHasIpv6: true,
    hostDisablesIpv6: false,
    ...more,
  }
}

function pod(more: Partial<BridgeAttachInput> = {}): BridgeAttachInput {
  return {
    attachment: { network: 'pods', containerId: 'c1', ifName: 'eth0' },
    hostIfName: parseIfName('tulb2d9e1a0ab3c'),
    hostMac: parseMac('02:00:00:00:00:01'),
    podIfName: parseIfName('eth0'),
    podMac: parseMac('02:00:00:00:00:02'),
    mtuBytes: 1450,
    bridge: CNI0,
    port: { isHairpin: false, isIsolated: false, isLocked: false },
    addresses: [IPV4, IPV6],
    routes: [],
    hostHasIpv6: true,
    podDisablesIpv6: false,
    ...more,
  }
}

function lines(...text: readonly string[]): string {
  return text.join('\n')
}

const CASES = [
  {
    name: 'planBridge() makes a bridge with the mark of ours, deaf to routers, and the gateways of both families',
    plan: planBridge(bridge()),
    want: lines(
      'host: ip link add cni0 group 7632236 address 02:00:00:00:00:0b mtu 1450 type bridge',
      'host: ip link set dev cni0 addrgenmode none',
      'host: sysctl -w net/ipv6/conf/cni0/accept_ra=0',
      'host: sysctl -w net/ipv6/conf/cni0/accept_redirects=0',
      'host: sysctl -w net/ipv4/conf/cni0/rp_filter=1',
      'host: sysctl -w net/ipv4/conf/cni0/accept_redirects=0',
      'host: ip address add fe80::ff:fe00:b/64 dev cni0 nodad',
      'host: ip address add 10.244.1.1/24 dev cni0',
      'host: ip address add fd00:10:244:1::1/64 dev cni0 nodad',
      "host: ip link set dev cni0 alias 'tulle/1 bridge' up",
    ),
  },
  {
    name: 'planBridge() sets nothing of IPv6 where the node has none, and no address where the node is no gateway',
    plan: planBridge(bridge({ gateways: [], hostHasIpv6: false, isPromiscuous: true })),
    want: lines(
      'host: ip link add cni0 group 7632236 address 02:00:00:00:00:0b mtu 1450 type bridge',
      'host: sysctl -w net/ipv4/conf/cni0/rp_filter=1',
      'host: sysctl -w net/ipv4/conf/cni0/accept_redirects=0',
      "host: ip link set dev cni0 alias 'tulle/1 bridge' promisc on up",
    ),
  },
  {
    name: 'planBridgeAttach() puts a dual-stack pod on the bridge, with the lengths of its link',
    plan: planBridgeAttach(
      pod({ routes: [{ to: parsePrefix('0.0.0.0/0'), via: IPV4.gateway }, { to: parsePrefix('fd99::/64') }] }),
    ),
    want: lines(
      'host: ip link add tulb2d9e1a0ab3c group 7632236 address 02:00:00:00:00:01 mtu 1450 type veth peer name eth0 address 02:00:00:00:00:02 mtu 1450 netns pod',
      'host: ip link set dev tulb2d9e1a0ab3c addrgenmode none',
      'host: ip link set dev tulb2d9e1a0ab3c master cni0',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 adding eth0 c1 pods' up",
      'pod:  ip link set dev lo up',
      'pod:  ip link set dev eth0 addrgenmode none',
      'pod:  sysctl -w net/ipv6/conf/eth0/accept_ra=0',
      'pod:  sysctl -w net/ipv6/conf/eth0/accept_redirects=0',
      'pod:  sysctl -w net/ipv6/conf/eth0/ndisc_notify=1',
      'pod:  sysctl -w net/ipv4/conf/eth0/arp_notify=1',
      'pod:  ip link set dev eth0 up',
      'pod:  ip address add fe80::ff:fe00:2/64 dev eth0 nodad',
      'pod:  ip address add 10.244.1.7/24 dev eth0',
      'pod:  ip address add fd00:10:244:1::7/64 dev eth0 nodad',
      'pod:  ip route add default via 10.244.1.1 dev eth0',
      'pod:  ip route add fd99::/64 dev eth0',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 eth0 c1 pods'",
    ),
  },
  {
    name: 'planBridgeAttach() has the port as it has to be before it is up',
    plan: planBridgeAttach(
      pod({ addresses: [IPV4], hostHasIpv6: false, port: { isHairpin: true, isIsolated: true, isLocked: true } }),
    ),
    want: lines(
      'host: ip link add tulb2d9e1a0ab3c group 7632236 address 02:00:00:00:00:01 mtu 1450 type veth peer name eth0 address 02:00:00:00:00:02 mtu 1450 netns pod',
      'host: ip link set dev tulb2d9e1a0ab3c master cni0',
      'host: bridge fdb add 02:00:00:00:00:02 dev tulb2d9e1a0ab3c master static',
      'host: bridge link set dev tulb2d9e1a0ab3c hairpin on isolated on learning off locked on',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 adding eth0 c1 pods' up",
      'pod:  ip link set dev lo up',
      'pod:  sysctl -w net/ipv4/conf/eth0/arp_notify=1',
      'pod:  ip link set dev eth0 up',
      'pod:  ip address add 10.244.1.7/24 dev eth0',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 eth0 c1 pods'",
    ),
  },
] as const

for (const { name, plan, want } of CASES) t.test(name, async t => t.equal(renderPlan(plan), want))

t.test('undoOf() takes a pod off its bridge, and leaves the bridge (invariant 4)', async t => {
  const { gateway: via } = IPV4
  const plan = planBridgeAttach(pod({ addresses: [IPV4], routes: [{ to: parsePrefix('0.0.0.0/0'), via }] }))
  t.equal(
    renderPlan(undoOf([...planBridge(bridge({ gateways: [] })), ...plan])),
    lines(
      'pod:  ip route delete default via 10.244.1.1 dev eth0',
      'pod:  ip address delete 10.244.1.7/24 dev eth0',
      'host: ip link delete dev tulb2d9e1a0ab3c',
    ),
  )
})

const ROUTES: readonly { readonly name: string; readonly more: Partial<BridgeRoutesInput>; readonly want: string }[] = [
  { name: 'has none when none are asked for', more: {}, want: '' },
  {
    name: 'gives the default routes by the gateways, in the families that the pod has',
    more: { isDefaultGateway: true },
    want: '0.0.0.0/0 ::/0',
  },
  {
    name: 'knows no default route without a gateway',
    more: { isDefaultGateway: true, addresses: [{ address: IPV4.address }, IPV6] },
    want: '::/0',
  },
  {
    name: 'keeps a default route that an IPAM plugin gave, and adds none beside it',
    more: {
      isDefaultGateway: true,
      addresses: [IPV4],
      routes: [{ to: parsePrefix('0.0.0.0/0'), via: parseAddress('10.244.1.254') }],
    },
    want: '0.0.0.0/0',
  },
  {
    name: 'drops what the pod has no address for, and what is asked for twice',
    more: {
      addresses: [IPV6],
      routes: [parsePrefix('10.0.0.0/8'), parsePrefix('fd01::/64'), parsePrefix('fd01::/64')].map(to => ({ to })),
      viaHost: [parseAddress('169.254.20.10'), parseAddress('fd00:20::10')],
    },
    want: 'fd01::/64 fd00:20::10/128',
  },
]

for (const { name, more, want } of ROUTES) {
  t.test(`bridgeRoutes() ${name}`, async t => {
    const routes = bridgeRoutes({
      addresses: [IPV4, IPV6],
      routes: [],
      isDefaultGateway: false,
      viaHost: [],
      ...more,
    })
    t.equal(routes.map(({ to }) => formatPrefix(to)).join(' '), want)
  })
}

t.test('bridgeRoutes() takes the gateway where no next hop was given, and the given one elsewhere', async t => {
  const via = parseAddress('10.244.1.254')
  const routes = [{ to: parsePrefix('10.1.0.0/16') }, { to: parsePrefix('10.2.0.0/16'), via }]
  const made = bridgeRoutes({ addresses: [IPV4], routes, isDefaultGateway: false, viaHost: [] })
  t.strictSame(
    made.map(route => route.via),
    [IPV4.gateway, via],
  )
})

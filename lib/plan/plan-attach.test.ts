import t from 'tap'
import { parseAddress, type Address } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { parsePrefix } from '../net/prefix.ts'
import { planAttach, planDetach, type AttachInput } from './plan-attach.ts'
import { renderPlan } from './render.ts'
import { undoOf } from './undo.ts'

const IPV4 = parseAddress('10.244.1.7')
const IPV6 = parseAddress('fd00:10:244:1::7')

function input(addresses: readonly Address[], more: Partial<AttachInput> = {}): AttachInput {
  return {
    attachment: { network: 'pods', containerId: 'c1', ifName: 'eth0' },
    hostIfName: parseIfName('tulb2d9e1a0ab3c'),
    hostMac: parseMac('02:00:00:00:00:01'),
    podIfName: parseIfName('eth0'),
    podMac: parseMac('02:00:00:00:00:02'),
    mtuBytes: 1450,
    addresses,
    viaHost: [],
    hostHasIpv6: true,
    hostDisablesIpv6: false,
    podDisablesIpv6: false,
    ...more,
  }
}

function lines(...text: readonly string[]): string {
  return text.join('\n')
}

// The plan is the contract between us and an operator: each line is the command that does the same (invariant 3).
const CASES = [
  {
    name: 'gives a dual-stack pod a /32, a /128 and the host as its only neighbour',
    input: input([IPV4, IPV6]),
    want: lines(
      'host: ip link add tulb2d9e1a0ab3c group 7632236 address 02:00:00:00:00:01 mtu 1450 type veth peer name eth0 address 02:00:00:00:00:02 mtu 1450 netns pod',
      'host: ip link set dev tulb2d9e1a0ab3c addrgenmode none',
      'host: sysctl -w net/ipv6/conf/tulb2d9e1a0ab3c/accept_ra=0',
      'host: sysctl -w net/ipv6/conf/tulb2d9e1a0ab3c/accept_redirects=0',
      'host: sysctl -w net/ipv4/conf/tulb2d9e1a0ab3c/rp_filter=1',
      'host: sysctl -w net/ipv4/conf/tulb2d9e1a0ab3c/accept_redirects=0',
      'host: sysctl -w net/ipv4/neigh/tulb2d9e1a0ab3c/base_reachable_time_ms=1209600000',
      'host: sysctl -w net/ipv6/neigh/tulb2d9e1a0ab3c/base_reachable_time_ms=1209600000',
      'host: ip address add 169.254.1.1/32 dev tulb2d9e1a0ab3c scope host',
      'host: ip address add fe80::1/64 dev tulb2d9e1a0ab3c nodad',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 adding eth0 c1 pods' up",
      'pod:  sysctl -w net/ipv4/conf/eth0/arp_notify=1',
      'pod:  sysctl -w net/ipv6/conf/eth0/ndisc_notify=1',
      'pod:  ip link set dev lo up',
      'pod:  ip link set dev eth0 addrgenmode none',
      'pod:  ip link set dev eth0 up',
      'pod:  ip address add 10.244.1.7/32 dev eth0',
      'pod:  ip address add fd00:10:244:1::7/128 dev eth0 nodad',
      'pod:  ip neighbour replace 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent',
      'pod:  ip route add 169.254.1.1/32 dev eth0 scope link',
      'pod:  ip neighbour replace fe80::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent',
      'pod:  ip route add default via 169.254.1.1 dev eth0',
      'pod:  ip -6 route add default via fe80::1 dev eth0',
      'host: ip neighbour replace 10.244.1.7 lladdr 02:00:00:00:00:02 dev tulb2d9e1a0ab3c nud reachable extern_learn',
      'host: ip route add 10.244.1.7/32 dev tulb2d9e1a0ab3c scope link proto 117',
      'host: ip neighbour replace fd00:10:244:1::7 lladdr 02:00:00:00:00:02 dev tulb2d9e1a0ab3c nud reachable extern_learn',
      'host: ip route add fd00:10:244:1::7/128 dev tulb2d9e1a0ab3c proto 117',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 eth0 c1 pods'",
    ),
  },
  {
    name: 'gives an IPv4 pod no IPv6 gateway, and still keeps IPv6 noise off the link',
    input: input([IPV4]),
    want: lines(
      'host: ip link add tulb2d9e1a0ab3c group 7632236 address 02:00:00:00:00:01 mtu 1450 type veth peer name eth0 address 02:00:00:00:00:02 mtu 1450 netns pod',
      'host: ip link set dev tulb2d9e1a0ab3c addrgenmode none',
      'host: sysctl -w net/ipv6/conf/tulb2d9e1a0ab3c/accept_ra=0',
      'host: sysctl -w net/ipv6/conf/tulb2d9e1a0ab3c/accept_redirects=0',
      'host: sysctl -w net/ipv4/conf/tulb2d9e1a0ab3c/rp_filter=1',
      'host: sysctl -w net/ipv4/conf/tulb2d9e1a0ab3c/accept_redirects=0',
      'host: sysctl -w net/ipv4/neigh/tulb2d9e1a0ab3c/base_reachable_time_ms=1209600000',
      'host: ip address add 169.254.1.1/32 dev tulb2d9e1a0ab3c scope host',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 adding eth0 c1 pods' up",
      'pod:  sysctl -w net/ipv4/conf/eth0/arp_notify=1',
      'pod:  ip link set dev lo up',
      'pod:  ip link set dev eth0 addrgenmode none',
      'pod:  ip link set dev eth0 up',
      'pod:  ip address add 10.244.1.7/32 dev eth0',
      'pod:  ip neighbour replace 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent',
      'pod:  ip route add 169.254.1.1/32 dev eth0 scope link',
      'pod:  ip route add default via 169.254.1.1 dev eth0',
      'host: ip neighbour replace 10.244.1.7 lladdr 02:00:00:00:00:02 dev tulb2d9e1a0ab3c nud reachable extern_learn',
      'host: ip route add 10.244.1.7/32 dev tulb2d9e1a0ab3c scope link proto 117',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 eth0 c1 pods'",
    ),
  },
  {
    name: 'gives an IPv6 pod an IPv6 gateway alone, and switches IPv6 on where it is off by default',
    input: input([IPV6], { hostDisablesIpv6: true, podDisablesIpv6: true }),
    want: lines(
      'host: ip link add tulb2d9e1a0ab3c group 7632236 address 02:00:00:00:00:01 mtu 1450 type veth peer name eth0 address 02:00:00:00:00:02 mtu 1450 netns pod',
      'host: ip link set dev tulb2d9e1a0ab3c addrgenmode none',
      'host: sysctl -w net/ipv6/conf/tulb2d9e1a0ab3c/accept_ra=0',
      'host: sysctl -w net/ipv6/conf/tulb2d9e1a0ab3c/accept_redirects=0',
      'host: sysctl -w net/ipv4/conf/tulb2d9e1a0ab3c/rp_filter=1',
      'host: sysctl -w net/ipv4/conf/tulb2d9e1a0ab3c/accept_redirects=0',
      'host: sysctl -w net/ipv6/neigh/tulb2d9e1a0ab3c/base_reachable_time_ms=1209600000',
      'host: sysctl -w net/ipv6/conf/tulb2d9e1a0ab3c/disable_ipv6=0',
      'host: ip address add fe80::1/64 dev tulb2d9e1a0ab3c nodad',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 adding eth0 c1 pods' up",
      'pod:  sysctl -w net/ipv6/conf/eth0/ndisc_notify=1',
      'pod:  ip link set dev lo up',
      'pod:  ip link set dev eth0 addrgenmode none',
      'pod:  sysctl -w net/ipv6/conf/eth0/disable_ipv6=0',
      'pod:  ip link set dev eth0 up',
      'pod:  ip address add fd00:10:244:1::7/128 dev eth0 nodad',
      'pod:  ip neighbour replace fe80::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent',
      'pod:  ip -6 route add default via fe80::1 dev eth0',
      'host: ip neighbour replace fd00:10:244:1::7 lladdr 02:00:00:00:00:02 dev tulb2d9e1a0ab3c nud reachable extern_learn',
      'host: ip route add fd00:10:244:1::7/128 dev tulb2d9e1a0ab3c proto 117',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 eth0 c1 pods'",
    ),
  },
  {
    name: 'sets nothing of IPv6 on a kernel that runs without it',
    input: input([IPV4], { hostHasIpv6: false }),
    want: lines(
      'host: ip link add tulb2d9e1a0ab3c group 7632236 address 02:00:00:00:00:01 mtu 1450 type veth peer name eth0 address 02:00:00:00:00:02 mtu 1450 netns pod',
      'host: sysctl -w net/ipv4/conf/tulb2d9e1a0ab3c/rp_filter=1',
      'host: sysctl -w net/ipv4/conf/tulb2d9e1a0ab3c/accept_redirects=0',
      'host: sysctl -w net/ipv4/neigh/tulb2d9e1a0ab3c/base_reachable_time_ms=1209600000',
      'host: ip address add 169.254.1.1/32 dev tulb2d9e1a0ab3c scope host',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 adding eth0 c1 pods' up",
      'pod:  sysctl -w net/ipv4/conf/eth0/arp_notify=1',
      'pod:  ip link set dev lo up',
      'pod:  ip link set dev eth0 up',
      'pod:  ip address add 10.244.1.7/32 dev eth0',
      'pod:  ip neighbour replace 169.254.1.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent',
      'pod:  ip route add 169.254.1.1/32 dev eth0 scope link',
      'pod:  ip route add default via 169.254.1.1 dev eth0',
      'host: ip neighbour replace 10.244.1.7 lladdr 02:00:00:00:00:02 dev tulb2d9e1a0ab3c nud reachable extern_learn',
      'host: ip route add 10.244.1.7/32 dev tulb2d9e1a0ab3c scope link proto 117',
      "host: ip link set dev tulb2d9e1a0ab3c alias 'tulle/1 eth0 c1 pods'",
    ),
  },
] as const

for (const { name, input, want } of CASES) {
  t.test(`planAttach() ${name}`, async t => t.equal(renderPlan(planAttach(input)), want))
}

function podRoutesOf(input: AttachInput): string {
  return renderPlan(planAttach(input).filter(({ do: verb, ...rest }) => verb === 'add-route' && 'via' in rest))
}

t.test('planAttach() routes addresses of the host explicitly and once, in the families that the pod has', async t => {
  const viaHost = [parseAddress('169.254.20.10'), parseAddress('fd00:20::10'), parseAddress('169.254.20.10')]
  t.equal(
    podRoutesOf(input([IPV4], { viaHost })),
    lines(
      'pod:  ip route add default via 169.254.1.1 dev eth0',
      'pod:  ip route add 169.254.20.10/32 via 169.254.1.1 dev eth0',
    ),
  )
})

t.test('planAttach() routes only the destinations that an IPAM plugin named', async t => {
  const destinations = [parsePrefix('10.0.0.0/8'), parsePrefix('fd00::/8')]
  t.equal(podRoutesOf(input([IPV4], { destinations })), 'pod:  ip route add 10.0.0.0/8 via 169.254.1.1 dev eth0')
})

t.test('planAttach() gives the pod end an MTU of its own where CHECK found one', async t => {
  const [veth] = planAttach(input([IPV4], { podMtuBytes: 1400 }))
  t.match(veth, { do: 'add-veth', hostMtuBytes: 1450, podMtuBytes: 1400 })
})

t.test('planDetach() removes the host end, and with it all the rest', async t => {
  t.equal(renderPlan(planDetach(parseIfName('tulb2d9e1a0ab3c'))), 'host: ip link delete dev tulb2d9e1a0ab3c')
})

t.test('undoOf() takes back, newest first, what does not go away with the link', async t => {
  t.equal(
    renderPlan(undoOf(planAttach(input([IPV4])))),
    lines(
      'host: ip route delete 10.244.1.7/32 dev tulb2d9e1a0ab3c scope link proto 117',
      'host: ip neighbour delete 10.244.1.7 dev tulb2d9e1a0ab3c',
      'pod:  ip route delete default via 169.254.1.1 dev eth0',
      'pod:  ip route delete 169.254.1.1/32 dev eth0 scope link',
      'pod:  ip neighbour delete 169.254.1.1 dev eth0',
      'pod:  ip address delete 10.244.1.7/32 dev eth0',
      'host: ip address delete 169.254.1.1/32 dev tulb2d9e1a0ab3c',
      'host: ip link delete dev tulb2d9e1a0ab3c',
    ),
  )
})

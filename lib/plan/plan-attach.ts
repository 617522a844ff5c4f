import type { AttachmentKey } from '../ipam/attachment.ts'
import type { Bandwidth } from '../net/bandwidth.ts'
import { parseAddress, type Address, type Family } from '../net/address.ts'
import { parseIfName, type IfName } from '../net/if-name.ts'
import type { Mac } from '../net/mac.ts'
import { defaultPrefix, formatPrefix, hostPrefix, type Prefix } from '../net/prefix.ts'
import { isReachedFromLoopback, planExposure, type Exposure } from './exposure.ts'
import { GATEWAY_IPV4, GATEWAY_IPV6 } from './marks.ts'
import type { Operation, Plan } from './operation.ts'
import { formatOwner } from './owner.ts'
import { planBandwidth } from './plan-bandwidth.ts'

/** Everything that decides how a pod is wired in transparent mode. */
export interface AttachInput {
  readonly attachment: AttachmentKey
  readonly hostIfName: IfName
  readonly hostMac: Mac
  readonly podIfName: IfName
  readonly podMac: Mac
  readonly mtuBytes: number
  /** Where the pod's end is to have another MTU than the host's. */
  readonly podMtuBytes?: number
  /** At most one address for each family, at least one in all. */
  readonly addresses: readonly Address[]
  /** What the pod reaches through the host; undefined means everything. */
  readonly destinations?: readonly Prefix[]
  /** Addresses that get a route of their own through the host's stack, whatever else the pod routes. */
  readonly viaHost: readonly Address[]
  /** False where the node's kernel runs without IPv6: then nothing of it may be set. */
  readonly hostHasIpv6: boolean
  /** True when the node switches IPv6 off on new links and the host end must be asked to take it. */
  readonly hostDisablesIpv6: boolean
  /** True when the pod's namespace switches IPv6 off by default and its interface must be asked to take it. */
  readonly podDisablesIpv6: boolean
  /** How the pod meets the outside, where it asks for more than its addresses. */
  readonly exposure?: Exposure
  /** How much it may send and be sent, where that is limited. */
  readonly bandwidth?: Bandwidth
}

/**
 * For how long the host takes the hardware address of a pod for true without hearing of it, in milliseconds: two weeks, of which
 * the kernel makes one to three. With its 30 s it would ask again and again. Three weeks are close to what it can count.
 */
const REACHABLE_MS = 14 * 24 * 60 * 60 * 1000

const LOOPBACK = parseIfName('lo')
const GATEWAYS: Readonly<Record<Family, Address>> = { 4: parseAddress(GATEWAY_IPV4), 6: parseAddress(GATEWAY_IPV6) }

/** The next hop that a routed pod has for `family`. */
export function gatewayOf(family: Family): Address {
  return GATEWAYS[family]
}

/**
 * The routes that a pod gets through the host, in the order in which they are added: one for each destination that it can
 * use, however often that is asked for.
 */
export function podRoutes(input: Pick<AttachInput, 'addresses' | 'destinations' | 'viaHost'>): readonly Prefix[] {
  const families = new Set(input.addresses.map(address => address.family))
  const wanted = input.destinations ?? [...families].map(defaultPrefix)
  const usable = [...wanted, ...input.viaHost.map(hostPrefix)].filter(prefix => families.has(prefix.address.family))
  return [...new Map(usable.map(prefix => [formatPrefix(prefix), prefix])).values()]
}

/**
 * Plans the attachment of a pod in transparent mode: a routed pod with an address of its own and the host as its only
 * neighbour (DESIGN: dataplane).
 *
 * The order matters. Nothing is up before it is safe: link-local addresses and router advertisements are refused on the
 * host end before it comes up. The host learns the pod's address last, so no packet arrives at a half-made pod. The alias
 * without its unfinished mark is the very last step: who finds it knows that ADD ended.
 */
export function planAttach(input: AttachInput): Plan {
  return [
    {
      do: 'add-veth',
      hostIfName: input.hostIfName,
      hostMac: input.hostMac,
      podIfName: input.podIfName,
      podMac: input.podMac,
      hostMtuBytes: input.mtuBytes,
      podMtuBytes: input.podMtuBytes ?? input.mtuBytes,
    },
    ...planHostEnd(input),
    ...(input.bandwidth === undefined ? [] : planBandwidth({ ...input, bandwidth: input.bandwidth })),
    ...planPodEnd(input),
    ...input.addresses.flatMap(address => planReachability(address, input)),
    ...(input.exposure === undefined ? [] : planExposure(input.exposure)),
    {
      do: 'set-link',
      at: 'host',
      link: input.hostIfName,
      alias: formatOwner({ attachment: input.attachment, isComplete: true }),
    },
  ]
}

function planHostEnd(input: AttachInput): Plan {
  const { attachment, hostIfName: link, addresses, hostHasIpv6 } = input
  const set = (key: string, value: string): Operation => ({ do: 'set-sysctl', at: 'host', key, value })
  // A pod must not steer the host: strict source check, no redirects, no router advertisements.
  const ipv4 = [set(`net/ipv4/conf/${link}/rp_filter`, '1'), set(`net/ipv4/conf/${link}/accept_redirects`, '0')]
  const ipv6: Plan = hostHasIpv6
    ? [
        { do: 'disable-link-local', at: 'host', link },
        set(`net/ipv6/conf/${link}/accept_ra`, '0'),
        set(`net/ipv6/conf/${link}/accept_redirects`, '0'),
      ]
    : []
  // The host's loopback addresses do not leave it otherwise. Packets of pods to them are dropped (NODE_RULESET).
  const localnet =
    input.exposure !== undefined && isReachedFromLoopback(input.exposure)
      ? [set(`net/ipv4/conf/${link}/route_localnet`, '1')]
      : []
  const families = addresses.map(({ family }) => family)
  const hasIpv6 = families.includes(6)
  const keep = families.map(family => set(`net/ipv${family}/neigh/${link}/base_reachable_time_ms`, `${REACHABLE_MS}`))
  const enable = hasIpv6 && input.hostDisablesIpv6 ? [set(`net/ipv6/conf/${link}/disable_ipv6`, '0')] : []
  // A pod that has lost its own entries asks for them (planPodEnd). What is said to a pod comes from the node's own address.
  const gateways = families.map((family): Operation => {
    const address = { address: gatewayOf(family), prefixLength: family === 4 ? 32 : 64 }
    return { do: 'add-address', at: 'host', link, address, ...(family === 4 ? { isHostScope: true } : {}) }
  })
  const alias = formatOwner({ attachment, isComplete: false })
  return [
    ...ipv6,
    ...ipv4,
    ...localnet,
    ...keep,
    ...enable,
    ...gateways,
    { do: 'set-link', at: 'host', link, alias, up: true },
  ]
}

function planPodEnd(input: AttachInput): Plan {
  const { podIfName: link, addresses, hostMac } = input
  const families = addresses.map(address => address.family)
  const enable: Plan =
    input.podDisablesIpv6 && families.includes(6)
      ? [{ do: 'set-sysctl', at: 'pod', key: `net/ipv6/conf/${link}/disable_ipv6`, value: '0' }]
      : []
  return [
    ...families.map(family => planNotice(family, link)),
    { do: 'set-link', at: 'pod', link: LOOPBACK, up: true },
    ...(input.hostHasIpv6 ? [{ do: 'disable-link-local', at: 'pod', link } as const] : []),
    ...enable,
    { do: 'set-link', at: 'pod', link, up: true },
    ...addresses.map(address => ({ do: 'add-address', at: 'pod', link, address: hostPrefix(address) }) as const),
    ...families.flatMap(family => planGateway(family, link, hostMac)),
    ...podRoutes(input).map(
      to => ({ do: 'add-route', at: 'pod', link, to, via: gatewayOf(to.address.family) }) as const,
    ),
  ]
}

/** Makes the pod say so when its hardware address changes, so that the host's entry follows (ADR 15). */
function planNotice(family: Family, link: IfName): Operation {
  const key = { 4: `net/ipv4/conf/${link}/arp_notify`, 6: `net/ipv6/conf/${link}/ndisc_notify` }[family]
  return { do: 'set-sysctl', at: 'pod', key, value: '1' }
}

function planGateway(family: Family, link: IfName, mac: Mac): Plan {
  const address = gatewayOf(family)
  const neighbour: Operation = { do: 'set-neighbour', at: 'pod', link, address, mac }
  // The pod's IPv4 address is a /32, so its gateway is outside every on-link prefix and the kernel would refuse a route via
  // it: a route to the gateway itself comes first. An IPv6 link-local gateway is on-link by definition.
  return family === 4 ? [neighbour, { do: 'add-route', at: 'pod', link, to: hostPrefix(address) }] : [neighbour]
}

function planReachability(address: Address, { hostIfName: link, podMac: mac }: AttachInput): Plan {
  return [
    { do: 'set-neighbour', at: 'host', link, address, mac, isLearnable: true },
    { do: 'add-route', at: 'host', link, to: hostPrefix(address) },
  ]
}

/** Plans the end of an attachment: with its host-side veth go the peer, the addresses, the routes and the neighbours. */
export function planDetach(hostIfName: IfName): Plan {
  return [{ do: 'delete-link', at: 'host', link: hostIfName }]
}

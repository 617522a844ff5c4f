import type { AttachmentKey } from '../ipam/attachment.ts'
import type { Bandwidth } from '../net/bandwidth.ts'
import type { Address, Family } from '../net/address.ts'
import { parseIfName, type IfName } from '../net/if-name.ts'
import { linkLocalOf } from '../net/link-local.ts'
import type { Mac } from '../net/mac.ts'
import { defaultPrefix, formatPrefix, hostPrefix, type AddressWithLength, type Prefix } from '../net/prefix.ts'
import { planExposure, type Exposure } from './exposure.ts'
import { BRIDGE_ALIAS } from './marks.ts'
import type { Operation, Plan } from './operation.ts'
import { formatOwner } from './owner.ts'
import { planBandwidth } from './plan-bandwidth.ts'

/** An address of a link that others are on too, and the router there, where it is known. */
export interface OnLinkAddress {
  readonly address: AddressWithLength
  readonly gateway?: Address
}

/** A route of a pod: by a next hop, or to neighbours on its link. */
export interface PodRoute {
  readonly to: Prefix
  readonly via?: Address
}

/** Everything that decides what the bridge of a node is like. */
export interface BridgeInput {
  readonly bridge: IfName
  readonly mac: Mac
  readonly mtuBytes: number
  /** The node's own addresses on the bridge: the gateways of the pods. */
  readonly gateways: readonly AddressWithLength[]
  readonly isPromiscuous: boolean
  /** False where the node's kernel runs without IPv6: then nothing of it may be set. */
  readonly hostHasIpv6: boolean
  /** True when the node switches IPv6 off on new links and the bridge must be asked to take it. */
  readonly hostDisablesIpv6: boolean
}

/** Everything that decides how a pod is put on a bridge. */
export interface BridgeAttachInput {
  readonly attachment: AttachmentKey
  readonly hostIfName: IfName
  readonly hostMac: Mac
  readonly podIfName: IfName
  readonly podMac: Mac
  /** Where a later plugin of the chain has given the pod another hardware address: that which ADD gave. */
  readonly firstPodMac?: Mac
  readonly mtuBytes: number
  /** Where the pod's end is to have another MTU than the host's. */
  readonly podMtuBytes?: number
  readonly bridge: IfName
  readonly port: { readonly isHairpin: boolean; readonly isIsolated: boolean; readonly isLocked: boolean }
  /** At most one of each family, at least one in all. */
  readonly addresses: readonly OnLinkAddress[]
  /** Beside those to the prefixes of its addresses, which the kernel adds. */
  readonly routes: readonly PodRoute[]
  readonly hostHasIpv6: boolean
  /** True when the pod's namespace switches IPv6 off by default and its interface must be asked to take it. */
  readonly podDisablesIpv6: boolean
  /** How the pod meets the outside, where it asks for more than its addresses. */
  readonly exposure?: Exposure
  /** How much it may send and be sent, where that is limited. */
  readonly bandwidth?: Bandwidth
}

const LOOPBACK = parseIfName('lo')

/**
 * Plans the bridge of a node: with the mark of ours, deaf to router advertisements before it is up, with an address that can
 * be used at once. Who has half of it makes the rest: every step can be done again.
 */
export function planBridge(input: BridgeInput): Plan {
  const { bridge: link, mac, mtuBytes, gateways, hostHasIpv6 } = input
  const set = (key: string, value: string): Operation => ({ do: 'set-sysctl', at: 'host', key, value })
  const hasIpv6 = gateways.some(({ address }) => address.family === 6)
  const ipv6: Plan = hostHasIpv6
    ? [
        { do: 'disable-link-local', at: 'host', link },
        set(`net/ipv6/conf/${link}/accept_ra`, '0'),
        set(`net/ipv6/conf/${link}/accept_redirects`, '0'),
        ...(hasIpv6 && input.hostDisablesIpv6 ? [set(`net/ipv6/conf/${link}/disable_ipv6`, '0')] : []),
      ]
    : []
  // Neighbours are asked for from a link-local address: without one the node could not forward to a pod.
  const own = hasIpv6 ? [{ address: linkLocalOf(mac), prefixLength: 64 }] : []
  return [
    { do: 'add-bridge', at: 'host', link, mac, mtuBytes },
    ...ipv6,
    set(`net/ipv4/conf/${link}/rp_filter`, '1'),
    set(`net/ipv4/conf/${link}/accept_redirects`, '0'),
    ...[...own, ...gateways].map(address => ({ do: 'add-address', at: 'host', link, address }) as const),
    {
      do: 'set-link',
      at: 'host',
      link,
      alias: BRIDGE_ALIAS,
      up: true,
      ...(input.isPromiscuous ? { promiscuous: true } : {}),
    },
  ]
}

/**
 * Plans the attachment of a pod to a bridge.
 *
 * The port is as it has to be before it is up: no frame passes that a lock or an isolation would have kept. The pod announces
 * itself when its hardware address changes, because neighbours have learnt the old one. The alias without its unfinished mark
 * is the very last step, as in planAttach.
 */
export function planBridgeAttach(input: BridgeAttachInput): Plan {
  const { attachment, hostIfName: link } = input
  return [
    {
      do: 'add-veth',
      hostIfName: link,
      hostMac: input.hostMac,
      podIfName: input.podIfName,
      podMac: input.podMac,
      hostMtuBytes: input.mtuBytes,
      podMtuBytes: input.podMtuBytes ?? input.mtuBytes,
    },
    ...planPort(input),
    { do: 'set-link', at: 'host', link, alias: formatOwner({ attachment, isComplete: false }), up: true },
    ...(input.bandwidth === undefined ? [] : planBandwidth({ ...input, bandwidth: input.bandwidth })),
    ...planPodEnd(input),
    ...(input.exposure === undefined ? [] : planExposure(input.exposure)),
    { do: 'set-link', at: 'host', link, alias: formatOwner({ attachment, isComplete: true }) },
  ]
}

function planPort({ hostIfName: link, bridge, port, podMac, hostHasIpv6 }: BridgeAttachInput): Plan {
  const flags = {
    ...(port.isHairpin ? { hairpin: true as const } : {}),
    ...(port.isIsolated ? { isolated: true as const } : {}),
    ...(port.isLocked ? { locked: true as const } : {}),
  }
  return [
    ...(hostHasIpv6 ? [{ do: 'disable-link-local', at: 'host', link } as const] : []),
    { do: 'add-bridge-port', at: 'host', link, bridge },
    ...(port.isLocked ? [{ do: 'add-forwarding', at: 'host', link, mac: podMac } as const] : []),
    ...(Object.keys(flags).length === 0 ? [] : [{ do: 'set-bridge-port', at: 'host', link, ...flags } as const]),
  ]
}

function planPodEnd(input: BridgeAttachInput): Plan {
  const { podIfName: link, podMac, firstPodMac = podMac, addresses, hostHasIpv6 } = input
  const set = (key: string, value: string): Operation => ({ do: 'set-sysctl', at: 'pod', key, value })
  const hasIpv6 = addresses.some(({ address }) => address.address.family === 6)
  const ipv6: Plan = hostHasIpv6
    ? [
        { do: 'disable-link-local', at: 'pod', link },
        // Another pod on the bridge must not become the router of this one.
        set(`net/ipv6/conf/${link}/accept_ra`, '0'),
        set(`net/ipv6/conf/${link}/accept_redirects`, '0'),
        set(`net/ipv6/conf/${link}/ndisc_notify`, '1'),
        ...(hasIpv6 && input.podDisablesIpv6 ? [set(`net/ipv6/conf/${link}/disable_ipv6`, '0')] : []),
      ]
    : []
  const own = hasIpv6 ? [{ address: linkLocalOf(firstPodMac), prefixLength: 64 }] : []
  return [
    { do: 'set-link', at: 'pod', link: LOOPBACK, up: true },
    ...ipv6,
    set(`net/ipv4/conf/${link}/arp_notify`, '1'),
    { do: 'set-link', at: 'pod', link, up: true },
    ...[...own, ...addresses.map(({ address }) => address)].map(
      address => ({ do: 'add-address', at: 'pod', link, address }) as const,
    ),
    ...input.routes.map(route => ({ do: 'add-route', at: 'pod', link, ...route }) as const),
  ]
}

/** What of a pod on a bridge decides its routes. */
export interface BridgeRoutesInput {
  readonly addresses: readonly OnLinkAddress[]
  /** As the configuration or the IPAM plugin gave them. */
  readonly routes: readonly PodRoute[]
  readonly isDefaultGateway: boolean
  readonly viaHost: readonly Address[]
}

/**
 * The routes of a pod on a bridge: those that were given, the default routes where it is to have them, and those to addresses
 * of the host. One to each destination, in the families that the pod has; where no next hop was given, it is the gateway.
 */
export function bridgeRoutes({ addresses, routes, isDefaultGateway, viaHost }: BridgeRoutesInput): readonly PodRoute[] {
  const gateways = new Map<Family, Address | undefined>(
    addresses.map(({ address, gateway }) => [address.address.family, gateway]),
  )
  const defaults = [...gateways].flatMap(([family, gateway]) =>
    isDefaultGateway && gateway !== undefined ? [{ to: defaultPrefix(family) }] : [],
  )
  const wanted: readonly PodRoute[] = [...routes, ...defaults, ...viaHost.map(address => ({ to: hostPrefix(address) }))]
  const byDestination = new Map<string, PodRoute>()
  for (const { to, via } of wanted.filter(({ to }) => gateways.has(to.address.family))) {
    const hop = via ?? gateways.get(to.address.family)
    const key = formatPrefix(to)
    if (!byDestination.has(key)) byDestination.set(key, { to, ...(hop === undefined ? {} : { via: hop }) })
  }
  return [...byDestination.values()]
}

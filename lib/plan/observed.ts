import type { Address } from '../net/address.ts'
import type { IfName } from '../net/if-name.ts'
import type { Mac } from '../net/mac.ts'
import type { AddressWithLength, Prefix } from '../net/prefix.ts'
import type { ObservedElement } from './nft-set.ts'
import type { Shaper } from './operation.ts'

/** A link as the kernel reports it. */
export interface ObservedLink {
  readonly index: number
  readonly name: IfName
  readonly mac?: Mac
  readonly mtuBytes: number
  readonly isUp: boolean
  /** The link's ifalias; undefined when it has none. */
  readonly alias?: string
  readonly group: number
  /** The kernel's name for the kind of device: 'veth', 'bridge'; undefined for physical ones and loopback. */
  readonly kind?: string
  /** The index of the other end of a veth pair, in the other end's namespace. */
  readonly peerIndex?: number
  /** True when the kernel was told to make no link-local address (addrgenmode none). */
  readonly hasNoLinkLocal: boolean
  /** True when it takes every frame, whomever it is for. */
  readonly isPromiscuous?: boolean
  /** What it is as a port of a bridge; undefined when it is none. */
  readonly port?: ObservedPort
}

/** A link as a port of a bridge. */
export interface ObservedPort {
  /** The index of the bridge. */
  readonly bridgeIndex: number
  readonly isHairpin: boolean
  readonly isIsolated: boolean
  readonly isLocked: boolean
}

/** An address on a link. */
export interface ObservedAddress {
  readonly address: AddressWithLength
  /** Duplicate address detection has not ended: the address cannot be used yet. */
  readonly isTentative: boolean
}

/** A route through a link, in the main table. */
export interface ObservedRoute {
  readonly to: Prefix
  readonly via?: Address
  readonly protocol: number
}

/** A route of ours on the host. */
export interface OwnRoute {
  readonly to: Prefix
  /** The index of the link that it leads through; undefined for one that refuses packets (`unreachable`). */
  readonly linkIndex?: number
}

/** A neighbour entry of a link. */
export interface ObservedNeighbour {
  readonly address: Address
  readonly mac?: Mac
  readonly isPermanent: boolean
}

/** One link with everything that hangs on it. */
export interface ObservedInterface {
  readonly link: ObservedLink
  readonly addresses: readonly ObservedAddress[]
  readonly routes: readonly ObservedRoute[]
  readonly neighbours: readonly ObservedNeighbour[]
  /** Of a port of a bridge that is locked: the addresses that it was told to take frames from. */
  readonly allowedMacs?: readonly Mac[]
}

/** How packets of a link are shaped and led elsewhere. */
export interface ObservedShaping {
  /** The token bucket that packets wait in as they leave; undefined when there is none. The kernel does not tell its burst. */
  readonly shaper?: Omit<Shaper, 'burstBytes'>
  /** The index of the link that every packet is led through which arrives; undefined when not every packet is. */
  readonly redirectsTo?: number
}

/** What CHECK compares a plan with. `undefined` stands for a link that is not there. */
export interface ObservedState {
  readonly host: ObservedInterface | undefined
  readonly pod: ObservedInterface | undefined
  readonly podLoopback: ObservedLink | undefined
  /** The bridge that the plan speaks of; absent when it speaks of none. */
  readonly bridge?: ObservedInterface | undefined
  /** The link that packets of the pod are led through; absent when the plan makes none. */
  readonly ifb?: ObservedInterface | undefined
  /** Of the links that the plan shapes or redirects, by their names. */
  readonly shaping?: ReadonlyMap<IfName, ObservedShaping>
  /** The settings that the plan asks for, keyed by `settingKey`; a setting that cannot be read is absent. */
  readonly settings: ReadonlyMap<string, string>
  /** The elements of nftables that belong to the attachment; absent where the plan asks for none. */
  readonly elements?: readonly ObservedElement[]
}

/** The key of one setting in `ObservedState.settings`. */
export function settingKey(at: 'host' | 'pod', key: string): string {
  return `${at}:${key}`
}

import type { Address } from '../net/address.ts'
import type { IfName } from '../net/if-name.ts'
import type { Mac } from '../net/mac.ts'
import type { AddressWithLength, Prefix } from '../net/prefix.ts'
import type { AttachmentKey } from '../ipam/attachment.ts'
import type { Element } from './nft-set.ts'

/** Where an operation happens: the node's network namespace or the pod's. */
export type Place = 'host' | 'pod'

/** Creates both ends of a veth pair in one request: the host end here, the pod end directly in the pod's namespace (R25). */
export interface AddVeth {
  readonly do: 'add-veth'
  readonly hostIfName: IfName
  readonly hostMac: Mac
  readonly podIfName: IfName
  readonly podMac: Mac
  readonly hostMtuBytes: number
  readonly podMtuBytes: number
}

/** Creates a bridge, with the mark of ours. It is the node's, not a pod's: no pod's plan makes or removes one. */
export interface AddBridge {
  readonly do: 'add-bridge'
  readonly at: 'host'
  readonly link: IfName
  /** Given, so that it does not become that of whichever port has the lowest (R23). */
  readonly mac: Mac
  readonly mtuBytes: number
}

/** Makes a host-side veth a port of a bridge. It ceases to be one when it is removed. */
export interface AddBridgePort {
  readonly do: 'add-bridge-port'
  readonly at: 'host'
  readonly link: IfName
  readonly bridge: IfName
}

/** Lets a port of a bridge take frames from this address, whatever it has learnt. The entry goes with the port. */
export interface AddForwarding {
  readonly do: 'add-forwarding'
  readonly at: 'host'
  readonly link: IfName
  readonly mac: Mac
}

/** Changes how a port of a bridge treats frames. What is not named stays. */
export interface SetBridgePort {
  readonly do: 'set-bridge-port'
  readonly at: 'host'
  readonly link: IfName
  readonly hairpin?: true
  readonly isolated?: true
  /** Takes no frame but from the addresses that it was told (`add-forwarding`), and learns none. */
  readonly locked?: true
}

/** How a token bucket lets packets pass: at this rate, and this much at once; what waits beyond the limit is dropped. */
export interface Shaper {
  readonly bytesPerSecond: number
  readonly burstBytes: number
  /** How much may wait, the burst included. */
  readonly limitBytes: number
}

/** Makes packets that leave a link wait (tbf). Goes with the link. */
export interface AddShaper extends Shaper {
  readonly do: 'add-shaper'
  readonly at: 'host'
  readonly link: IfName
}

/** Creates a link of ours through which packets can be led, to be shaped as they leave it. */
export interface AddIfb {
  readonly do: 'add-ifb'
  readonly at: 'host'
  readonly link: IfName
  readonly mtuBytes: number
}

/** Leads every packet that arrives at a link through another one, and back. Goes with either link. */
export interface RedirectIngress {
  readonly do: 'redirect-ingress'
  readonly at: 'host'
  readonly link: IfName
  readonly to: IfName
}

/** Removes a link of ours and with it its peer, addresses, routes and neighbours. */
export interface DeleteLink {
  readonly do: 'delete-link'
  readonly at: Place
  readonly link: IfName
}

/** Changes a link: its alias, its administrative state, whether it takes every frame, or several in one request. */
export interface SetLink {
  readonly do: 'set-link'
  readonly at: Place
  readonly link: IfName
  readonly up?: true
  readonly alias?: string
  readonly promiscuous?: true
}

/** Keeps the kernel from giving a link an IPv6 link-local address of its own when it comes up. */
export interface DisableLinkLocal {
  readonly do: 'disable-link-local'
  readonly at: Place
  readonly link: IfName
}

/** Writes one setting below /proc/sys, as seen in that place; `key` is a path such as `net/ipv4/ip_forward`. */
export interface SetSysctl {
  readonly do: 'set-sysctl'
  readonly at: Place
  readonly key: string
  readonly value: string
}

/** IPv6 addresses are always added without duplicate address detection (R15): they are unique by allocation. */
export interface AddAddress {
  readonly do: 'add-address'
  readonly at: Place
  readonly link: IfName
  readonly address: AddressWithLength
  /** Answers, and is never the source of what the node says (scope host). IPv4 only: IPv6 has no such scope. */
  readonly isHostScope?: true
}

export interface DeleteAddress {
  readonly do: 'delete-address'
  readonly at: Place
  readonly link: IfName
  readonly address: AddressWithLength
}

/**
 * A neighbour entry, so that nobody asks who has the address (R26). Replaces an entry that is there. Permanent, unless it is
 * one that its owner can change by announcing another hardware address.
 */
export interface SetNeighbour {
  readonly do: 'set-neighbour'
  readonly at: Place
  readonly link: IfName
  readonly address: Address
  readonly mac: Mac
  readonly isLearnable?: true
}

export interface DeleteNeighbour {
  readonly do: 'delete-neighbour'
  readonly at: Place
  readonly link: IfName
  readonly address: Address
}

/** A route through `link`, by `via` or on-link. On the host it carries our route protocol. */
export interface AddRoute {
  readonly do: 'add-route'
  readonly at: Place
  readonly link: IfName
  readonly to: Prefix
  readonly via?: Address
}

export interface DeleteRoute {
  readonly do: 'delete-route'
  readonly at: Place
  readonly link: IfName
  readonly to: Prefix
  readonly via?: Address
}

/** Refuses packets to addresses of a block that no pod holds, instead of sending them to the default gateway (R29). */
export interface AddUnreachable {
  readonly do: 'add-unreachable'
  readonly block: Prefix
}

export interface DeleteUnreachable {
  readonly do: 'delete-unreachable'
  readonly block: Prefix
}

/** Adds elements of our nftables table for an attachment, all or none: EEXIST when somebody has one of the keys. */
export interface AddElements {
  readonly do: 'add-elements'
  readonly owner: AttachmentKey
  readonly elements: readonly Element[]
}

/** Deletes elements of our nftables table, all or none. */
export interface DeleteElements {
  readonly do: 'delete-elements'
  readonly owner: AttachmentKey
  readonly elements: readonly Element[]
}

/**
 * Makes the kernel forget where UDP packets to ports of the node went (R19): a flow that goes on for ever would stay with
 * the pod that had the port before, or with nobody.
 */
export interface ForgetFlows {
  readonly do: 'forget-flows'
  readonly ports: readonly HostUdpPort[]
}

/** A UDP port of the node, and where it leads or led. */
export interface HostUdpPort {
  readonly hostPort: number
  readonly hostAddress?: Address
  readonly podAddress: Address
  readonly podPort: number
}

/** One change of the kernel's network state, as a value (invariant 3). */
export type Operation =
  | AddVeth
  | AddBridge
  | AddBridgePort
  | AddForwarding
  | SetBridgePort
  | AddShaper
  | AddIfb
  | RedirectIngress
  | DeleteLink
  | SetLink
  | DisableLinkLocal
  | SetSysctl
  | AddAddress
  | DeleteAddress
  | SetNeighbour
  | DeleteNeighbour
  | AddRoute
  | DeleteRoute
  | AddUnreachable
  | DeleteUnreachable
  | AddElements
  | DeleteElements
  | ForgetFlows

/** Operations in the order in which they are applied. */
export type Plan = readonly Operation[]

/** Where `operation` happens. A veth pair, an unreachable route and elements of nftables are made from the host. */
export function placeOf(operation: Operation): Place {
  return 'at' in operation ? operation.at : 'host'
}

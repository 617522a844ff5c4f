import * as ifla from 'netlink/dist/rt/ifla.js'
import * as rt from 'netlink/dist/rt/structs.js'
import { AttrStream, putU8, type StreamData } from 'netlink/dist/structs.js'
import { addressToBytes, type Address } from '../net/address.ts'
import { macToBytes } from '../net/mac.ts'
import type { Prefix } from '../net/prefix.ts'
import { LINK_GROUP, ROUTE_PROTOCOL, UNREACHABLE_METRIC } from '../plan/marks.ts'
import type {
  AddAddress,
  AddBridge,
  AddForwarding,
  AddIfb,
  AddRoute,
  AddVeth,
  DeleteAddress,
  DeleteNeighbour,
  DeleteRoute,
  SetBridgePort,
  SetLink,
  SetNeighbour,
} from '../plan/operation.ts'
import type { NetlinkRequest } from './netlink-socket.ts'

/*
 * Operations as rtnetlink(7) requests. Nested attributes are flattened to bytes because the codecs' types want them so.
 */

/** The codecs' enum knows no number of ours; as a plain number it passes. */
const OUR_PROTOCOL: number = ROUTE_PROTOCOL

export const NLM_F_REPLACE = 0x100
export const NLM_F_EXCL = 0x200
export const NLM_F_CREATE = 0x400

export const AF_INET = 2
export const AF_INET6 = 10
/** PF_BRIDGE: forwarding databases of bridges. */
export const AF_BRIDGE = 7
/** RTEXT_FILTER_SKIP_STATS: a link without its counters is half the size. */
export const SKIP_STATS = Buffer.from(new Uint32Array([8]).buffer)
const IFLA_IFALIAS = 20
/** Of a port of a bridge (linux/if_link.h). `locked` is of Linux 5.18, which the codec is older than. */
export const IFLA_BRPORT = { mode: 4, learning: 8, isolated: 33, locked: 39 } as const
/** IFLA_INET6_ADDR_GEN_MODE and its value IN6_ADDR_GEN_MODE_NONE. */
const IFLA_INET6_ADDR_GEN_MODE = 8
const ADDR_GEN_MODE_NONE = 1

/**
 * A pair with one queue in each direction: by default the kernel makes one for each processor, which costs time for each
 * interface and gains nothing, since a veth has no lock and no hardware queues.
 */
export function addVeth(veth: AddVeth, podNetnsFd: number, indexes?: PairIndexes): NetlinkRequest {
  const peer = flatten([
    rt.formatLink(indexes === undefined ? {} : { index: indexes.pod }),
    ifla.formatLinkAttrs({
      ifname: veth.podIfName,
      address: Buffer.from(macToBytes(veth.podMac)),
      mtu: veth.podMtuBytes,
      netNsFd: podNetnsFd,
      numTxQueues: 1,
      numRxQueues: 1,
    }),
  ])
  const attributes = ifla.formatLinkAttrs({
    ifname: veth.hostIfName,
    address: Buffer.from(macToBytes(veth.hostMac)),
    mtu: veth.hostMtuBytes,
    group: LINK_GROUP,
    numTxQueues: 1,
    numRxQueues: 1,
    linkinfo: flatten([ifla.formatInfo({ kind: 'veth', data: flatten([ifla.formatVethInfo({ peer })]) })]),
  })
  return {
    type: rt.MessageType.NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    payload: payload(rt.formatLink(indexes === undefined ? {} : { index: indexes.host }), attributes),
  }
}

/** The interface indexes that both ends of a pair are to get. */
export interface PairIndexes {
  readonly host: number
  readonly pod: number
}

export function deleteLink(index: number): NetlinkRequest {
  return { type: rt.MessageType.DELLINK, flags: 0, payload: payload(rt.formatLink({ index }), []) }
}

/** Puts a link into a group, for deleteGroup(). */
export function setGroup(index: number, group: number): NetlinkRequest {
  return {
    type: rt.MessageType.NEWLINK,
    flags: 0,
    payload: payload(rt.formatLink({ index }), ifla.formatLinkAttrs({ group })),
  }
}

/** Removes all links of a group at once. */
export function deleteGroup(group: number): NetlinkRequest {
  return {
    type: rt.MessageType.DELLINK,
    flags: 0,
    payload: payload(rt.formatLink({}), ifla.formatLinkAttrs({ group })),
  }
}

export function setLink(operation: SetLink, index: number): NetlinkRequest {
  const up = operation.up ? ({ up: true } as const) : {}
  const bits = { ...up, ...(operation.promiscuous ? ({ promisc: true } as const) : {}) }
  const state = { flags: bits, change: bits }
  return {
    type: rt.MessageType.NEWLINK,
    flags: 0,
    payload: payload(rt.formatLink({ index, ...state }), alias(operation)),
  }
}

/** Without the NUL that the codec puts at the end of a text: the kernel counts it, and would keep only 254 bytes. */
function alias({ alias }: SetLink): StreamData {
  return out => {
    if (alias !== undefined) out.push(IFLA_IFALIAS, Buffer.from(alias))
  }
}

export function disableLinkLocal(index: number): NetlinkRequest {
  const inet6 = new AttrStream()
  inet6.push(IFLA_INET6_ADDR_GEN_MODE, putU8(ADDR_GEN_MODE_NONE))
  const attributes = ifla.formatLinkAttrs({ afSpec: new Map([[AF_INET6, Buffer.concat(inet6.bufs)]]) })
  return { type: rt.MessageType.NEWLINK, flags: 0, payload: payload(rt.formatLink({ index }), attributes) }
}

export function getLink(link: { readonly name: string } | { readonly index: number }): NetlinkRequest {
  const byIndex = 'index' in link ? { index: link.index } : {}
  const byName = 'name' in link ? { ifname: link.name } : {}
  const attributes = ifla.formatLinkAttrs({ ...byName, extMask: SKIP_STATS })
  return { type: rt.MessageType.GETLINK, flags: 0, payload: payload(rt.formatLink(byIndex), attributes) }
}

/** Every link of the namespace. */
export function dumpLinks(): NetlinkRequest {
  const attributes = ifla.formatLinkAttrs({ extMask: SKIP_STATS })
  return { type: rt.MessageType.GETLINK, flags: 0, payload: payload(rt.formatLink({}), attributes) }
}

export function addBridge({ link, mac, mtuBytes }: AddBridge): NetlinkRequest {
  const attributes = ifla.formatLinkAttrs({
    ifname: link,
    address: Buffer.from(macToBytes(mac)),
    mtu: mtuBytes,
    group: LINK_GROUP,
    linkinfo: flatten([ifla.formatInfo({ kind: 'bridge' })]),
  })
  return {
    type: rt.MessageType.NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    payload: payload(rt.formatLink({}), attributes),
  }
}

export function addBridgePort(index: number, bridgeIndex: number): NetlinkRequest {
  const attributes = ifla.formatLinkAttrs({ master: bridgeIndex })
  return { type: rt.MessageType.NEWLINK, flags: 0, payload: payload(rt.formatLink({ index }), attributes) }
}

export function setBridgePort({ hairpin, isolated, locked }: SetBridgePort, index: number): NetlinkRequest {
  const port = new AttrStream()
  if (hairpin) port.push(IFLA_BRPORT.mode, putU8(1))
  if (isolated) port.push(IFLA_BRPORT.isolated, putU8(1))
  if (locked) {
    port.push(IFLA_BRPORT.learning, putU8(0))
    port.push(IFLA_BRPORT.locked, putU8(1))
  }
  const slaveData = Buffer.concat(port.bufs)
  const attributes = ifla.formatLinkAttrs({ linkinfo: flatten([ifla.formatInfo({ slaveKind: 'bridge', slaveData })]) })
  return { type: rt.MessageType.NEWLINK, flags: 0, payload: payload(rt.formatLink({ index }), attributes) }
}

/** An entry of the bridge's forwarding database, that of the bridge which the port is of (NTF_MASTER). */
export function addForwarding({ mac }: AddForwarding, index: number): NetlinkRequest {
  const data = rt.formatNeighbor({ family: AF_BRIDGE, ifindex: index, state: { noarp: true }, flags: { master: true } })
  const attributes = rt.formatNeighborAttrs({ lladdr: Buffer.from(macToBytes(mac)) })
  return { type: rt.MessageType.NEWNEIGH, flags: NLM_F_CREATE | NLM_F_EXCL, payload: payload(data, attributes) }
}

/** What a bridge forwards to one of its ports. */
export function dumpForwarding(index: number): NetlinkRequest {
  return {
    type: rt.MessageType.GETNEIGH,
    flags: 0,
    payload: payload(rt.formatNeighbor({ family: AF_BRIDGE, ifindex: index }), []),
  }
}

export function addIfb({ link, mtuBytes }: AddIfb): NetlinkRequest {
  const attributes = ifla.formatLinkAttrs({
    ifname: link,
    mtu: mtuBytes,
    group: LINK_GROUP,
    linkinfo: flatten([ifla.formatInfo({ kind: 'ifb' })]),
  })
  return {
    type: rt.MessageType.NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    payload: payload(rt.formatLink({}), attributes),
  }
}

/** Every link of that kind in the namespace: the kernel filters by kind, not by group. */
export function dumpLinksOf(kind: 'veth' | 'ifb'): NetlinkRequest {
  const attributes = ifla.formatLinkAttrs({
    extMask: SKIP_STATS,
    linkinfo: flatten([ifla.formatInfo({ kind })]),
  })
  return { type: rt.MessageType.GETLINK, flags: 0, payload: payload(rt.formatLink({}), attributes) }
}

/** linux/rtnetlink.h: valid on this host only, and no address to send from. */
const RT_SCOPE_HOST = 254

export function changeAddress(operation: AddAddress | DeleteAddress, index: number): NetlinkRequest {
  const { do: verb, address } = operation
  const isIpv6 = address.address.family === 6
  const bytes = bytesOf(address.address)
  const data = rt.formatAddress({
    family: familyNumber(address.address.family),
    prefixlen: address.prefixLength,
    index,
    // Unique by allocation: detection would only leave the address unusable for seconds (R15).
    flags: isIpv6 && verb === 'add-address' ? { nodad: true } : {},
    ...(operation.do === 'add-address' && operation.isHostScope ? { scope: RT_SCOPE_HOST } : {}),
  })
  const attributes = rt.formatAddressAttrs({ local: bytes, address: bytes })
  return verb === 'add-address'
    ? { type: rt.MessageType.NEWADDR, flags: NLM_F_CREATE | NLM_F_EXCL, payload: payload(data, attributes) }
    : { type: rt.MessageType.DELADDR, flags: 0, payload: payload(data, attributes) }
}

export function dumpAddresses(index: number): NetlinkRequest {
  return { type: rt.MessageType.GETADDR, flags: 0, payload: payload(rt.formatAddress({ index }), []) }
}

/** The addresses of every link, of both families. */
export function dumpAllAddresses(): NetlinkRequest {
  return { type: rt.MessageType.GETADDR, flags: 0, payload: payload(rt.formatAddress({}), []) }
}

export function setNeighbour({ address, mac, isLearnable }: SetNeighbour, index: number): NetlinkRequest {
  const data = rt.formatNeighbor({
    family: familyNumber(address.family),
    ifindex: index,
    // extLearned keeps an entry that is not permanent from the table's limits and its garbage collector.
    ...(isLearnable ? { state: { reachable: true }, flags: { extLearned: true } } : { state: { permanent: true } }),
  })
  const attributes = rt.formatNeighborAttrs({ dst: bytesOf(address), lladdr: Buffer.from(macToBytes(mac)) })
  return { type: rt.MessageType.NEWNEIGH, flags: NLM_F_CREATE | NLM_F_REPLACE, payload: payload(data, attributes) }
}

export function deleteNeighbour({ address }: DeleteNeighbour, index: number): NetlinkRequest {
  const data = rt.formatNeighbor({ family: familyNumber(address.family), ifindex: index })
  return {
    type: rt.MessageType.DELNEIGH,
    flags: 0,
    payload: payload(data, rt.formatNeighborAttrs({ dst: bytesOf(address) })),
  }
}

export function dumpNeighbours(index: number): NetlinkRequest {
  const attributes = rt.formatNeighborAttrs({ ifindex: Buffer.from(new Uint32Array([index]).buffer) })
  return { type: rt.MessageType.GETNEIGH, flags: 0, payload: payload(rt.formatNeighbor({}), attributes) }
}

export function changeRoute(route: AddRoute | DeleteRoute, index: number): NetlinkRequest {
  const family = route.to.address.family
  const data = rt.formatRoute({
    family: familyNumber(family),
    dstLen: route.to.prefixLength,
    table: rt.RoutingTableClass.MAIN,
    protocol: route.at === 'host' ? OUR_PROTOCOL : rt.RouteProtocol.BOOT,
    scope: route.via === undefined && family === 4 ? rt.RouteScope.LINK : rt.RouteScope.UNIVERSE,
    type: rt.RouteType.UNICAST,
  })
  const attributes = rt.formatRouteAttrs({
    ...destination(route.to),
    ...(route.via === undefined ? {} : { gateway: bytesOf(route.via) }),
    oif: index,
  })
  return route.do === 'add-route'
    ? { type: rt.MessageType.NEWROUTE, flags: NLM_F_CREATE | NLM_F_EXCL, payload: payload(data, attributes) }
    : { type: rt.MessageType.DELROUTE, flags: 0, payload: payload(data, attributes) }
}

export function changeUnreachable(verb: 'add' | 'delete', block: Prefix): NetlinkRequest {
  const data = rt.formatRoute({
    family: familyNumber(block.address.family),
    dstLen: block.prefixLength,
    table: rt.RoutingTableClass.MAIN,
    protocol: OUR_PROTOCOL,
    type: rt.RouteType.UNREACHABLE,
  })
  const attributes = rt.formatRouteAttrs({ ...destination(block), priority: UNREACHABLE_METRIC })
  return verb === 'add'
    ? { type: rt.MessageType.NEWROUTE, flags: NLM_F_CREATE | NLM_F_EXCL, payload: payload(data, attributes) }
    : { type: rt.MessageType.DELROUTE, flags: 0, payload: payload(data, attributes) }
}

/** The routes of one family that match; the kernel filters by link and protocol (NETLINK_GET_STRICT_CHK). */
export function dumpRoutes(
  family: 4 | 6,
  filter: { readonly oif?: number; readonly protocol?: number; readonly type?: 'any' },
): NetlinkRequest {
  const data = rt.formatRoute({
    family: familyNumber(family),
    protocol: filter.protocol ?? 0,
    type: filter.type === 'any' ? rt.RouteType.UNSPEC : rt.RouteType.UNICAST,
  })
  const attributes = filter.oif === undefined ? [] : rt.formatRouteAttrs({ oif: filter.oif })
  return { type: rt.MessageType.GETROUTE, flags: 0, payload: payload(data, attributes) }
}

/** The one route that packets to `address` take: a look-up, whatever the size of the table. */
export function lookUpRoute(address: Address): NetlinkRequest {
  const data = rt.formatRoute({ family: familyNumber(address.family), dstLen: address.family === 4 ? 32 : 128 })
  return {
    type: rt.MessageType.GETROUTE,
    flags: 0,
    payload: payload(data, rt.formatRouteAttrs({ dst: bytesOf(address) })),
  }
}

export function destination(prefix: Prefix): { dst?: Buffer } {
  return prefix.prefixLength === 0 ? {} : { dst: bytesOf(prefix.address) }
}

export function familyNumber(family: 4 | 6): number {
  return family === 4 ? AF_INET : AF_INET6
}

export function bytesOf(address: Address): Buffer {
  return Buffer.from(addressToBytes(address))
}

export function payload(header: Uint8Array, attributes: StreamData): StreamData {
  return out => {
    out.emit(header)
    out.emit(attributes)
  }
}

export function flatten(parts: readonly StreamData[]): Buffer {
  const stream = new AttrStream()
  for (const part of parts) stream.emit(part)
  return Buffer.concat(stream.bufs)
}

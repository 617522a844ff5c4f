import * as ifla from 'netlink/dist/rt/ifla.js'
import * as rt from 'netlink/dist/rt/structs.js'
import { getMap, getString, getU16, getU32 } from 'netlink/dist/structs.js'
import { addressFromBytes, type Address } from '../net/address.ts'
import type { IfName } from '../net/if-name.ts'
import { macFromBytes, type Mac } from '../net/mac.ts'
import { defaultPrefix, prefixOf, type Prefix } from '../net/prefix.ts'
import type {
  ObservedAddress,
  ObservedLink,
  ObservedNeighbour,
  ObservedPort,
  ObservedRoute,
  OwnRoute,
} from '../plan/observed.ts'
import { ROUTE_PROTOCOL } from '../plan/marks.ts'
import type { NetlinkReply } from './netlink-socket.ts'
import { AF_BRIDGE, AF_INET, AF_INET6, IFLA_BRPORT } from './rtnetlink-encode.ts'

/*
 * rtnetlink(7) replies as observed state. Attributes are read as a map and only those that we use are decoded: the codecs'
 * whole-object parsers throw on attributes that they know in an older form (a route via a next hop of the other family).
 */

export type Attributes = ReadonlyMap<number, Buffer>

// Attribute numbers from the kernel's uapi headers: linux/if_link.h, if_addr.h, rtnetlink.h, neighbour.h.
const IFLA = {
  address: 1,
  ifname: 3,
  mtu: 4,
  link: 5,
  master: 10,
  linkinfo: 18,
  ifalias: 20,
  afSpec: 26,
  group: 27,
} as const
const IFLA_INET6_ADDR_GEN_MODE = 8
const ADDR_GEN_MODE_NONE = 1
const IFA = { address: 1, local: 2, flags: 8 } as const
const RTA = { dst: 1, oif: 4, gateway: 5, multipath: 9, table: 15, via: 18 } as const
/** struct rtnexthop: length u16, flags u8, weight u8, interface index. Attributes follow. */
const NEXT_HOP_BYTES = 8
/** Kinds of routes that refuse packets; the codec turns a number that it knows into a name. */
const REFUSING: ReadonlySet<unknown> = new Set(['UNREACHABLE', 'PROHIBIT', 'BLACKHOLE'])
const NDA = { dst: 1, lladdr: 2 } as const

export function decodeLink(reply: NetlinkReply): ObservedLink {
  const header = rt.parseLink(head(reply, rt.__LENGTH_Link))
  const attributes = attributesOf(reply, rt.__LENGTH_Link)
  const mac = macOf(attributes.get(IFLA.address))
  const alias = textOf(attributes.get(IFLA.ifalias))
  const info = attributes.get(IFLA.linkinfo)
  const kind = info === undefined ? undefined : ifla.parseInfo(info).kind
  const peer = attributes.get(IFLA.link)
  const port = portOf(attributes.get(IFLA.master), info)
  return {
    index: header.index ?? 0,
    name: nameOf(attributes.get(IFLA.ifname)),
    mtuBytes: numberOf(attributes.get(IFLA.mtu)),
    isUp: header.flags?.up ?? false,
    group: numberOf(attributes.get(IFLA.group)),
    hasNoLinkLocal: hasNoLinkLocal(attributes.get(IFLA.afSpec)),
    ...(mac === undefined ? {} : { mac }),
    ...(alias === undefined ? {} : { alias }),
    ...(kind === undefined ? {} : { kind }),
    ...(peer === undefined ? {} : { peerIndex: getU32(peer) }),
    ...(header.flags?.promisc ? { isPromiscuous: true } : {}),
    ...(port === undefined ? {} : { port }),
  }
}

/** Undefined for a link that is no port, or one of something else than a bridge. */
function portOf(master: Buffer | undefined, info: Buffer | undefined): ObservedPort | undefined {
  if (master === undefined || info === undefined) return undefined
  const { slaveKind, slaveData } = ifla.parseInfo(info)
  if (slaveKind !== 'bridge' || slaveData === undefined) return undefined
  const flags = mapOf(slaveData)
  const is = (attribute: number): boolean => flags.get(attribute)?.[0] === 1
  return {
    bridgeIndex: getU32(master),
    isHairpin: is(IFLA_BRPORT.mode),
    isIsolated: is(IFLA_BRPORT.isolated),
    isLocked: is(IFLA_BRPORT.locked),
  }
}

/** The address of a static entry of a forwarding database; undefined for one that was learnt, or is the port's own. */
export function decodeAllowedMac(reply: NetlinkReply): Mac | undefined {
  const header = rt.parseNeighbor(head(reply, rt.__LENGTH_Neighbor))
  if (header.family !== AF_BRIDGE || !header.state?.noarp) return undefined
  return macOf(attributesOf(reply, rt.__LENGTH_Neighbor).get(NDA.lladdr))
}

/**
 * Not parsed: the kernel has a link of that name, so it takes it. Its rules are about bytes and laxer than those for names
 * that we would give (an ideographic space, say), and a foreign link must not keep us from finding ours.
 */
function nameOf(bytes: Buffer | undefined): IfName {
  if (bytes === undefined) throw new Error('RTM_NEWLINK without a name')
  return getString(bytes) as IfName
}

function hasNoLinkLocal(afSpec: Buffer | undefined): boolean {
  const inet6 = afSpec && mapOf(afSpec).get(AF_INET6)
  return inet6 !== undefined && mapOf(inet6).get(IFLA_INET6_ADDR_GEN_MODE)?.[0] === ADDR_GEN_MODE_NONE
}

/** The address, or undefined for one of a family that we do not use. */
export function decodeAddress(reply: NetlinkReply): ObservedAddress | undefined {
  const header = rt.parseAddress(head(reply, rt.__LENGTH_Address))
  if (header.family !== AF_INET && header.family !== AF_INET6) return undefined
  const attributes = attributesOf(reply, rt.__LENGTH_Address)
  // On a point-to-point link the local address is the interface's; elsewhere only IFA_ADDRESS is sure to be there.
  const bytes = attributes.get(IFA.local) ?? attributes.get(IFA.address)
  if (bytes === undefined) throw new Error('RTM_NEWADDR without an address')
  const flags = attributes.get(IFA.flags)
  const states = flags === undefined ? header.flags : rt.parseAddressFlags(getU32(flags))
  return {
    address: { address: addressFromBytes(bytes), prefixLength: header.prefixlen ?? 0 },
    isTentative: states?.tentative ?? false,
  }
}

/** The index of the link that an address belongs to. */
export function addressLinkIndex(reply: NetlinkReply): number {
  return rt.parseAddress(head(reply, rt.__LENGTH_Address)).index ?? 0
}

/**
 * The route as it leads through the link `index`, once for each of its next hops there. Empty when it leads through others
 * only, is in another table than the main one, or of a family that we do not use.
 */
export function decodeRoutes(reply: NetlinkReply, index: number): readonly ObservedRoute[] {
  const route = decodeMainRoute(reply)
  if (route === undefined) return []
  const { to, protocol } = route
  return nextHopsOf(route.attributes)
    .filter(hop => hop.linkIndex === index)
    .map(({ via }) => ({ to, protocol, ...(via === undefined ? {} : { via }) }))
}

/** A route of our protocol; undefined for one that is not, or that is in another table than the main one. */
export function decodeOwnRoute(reply: NetlinkReply): OwnRoute | undefined {
  const route = decodeMainRoute(reply)
  if (route?.protocol !== ROUTE_PROTOCOL) return undefined
  const linkIndex = nextHopsOf(route.attributes)[0]?.linkIndex
  // The kernel writes IPv6 routes that refuse packets down with the index of lo.
  const leads = linkIndex !== undefined && !route.refuses
  return { to: route.to, ...(leads ? { linkIndex } : {}) }
}

/** A route of the main table, of whatever protocol; undefined for one of another table. */
export function decodeHostRoute(
  reply: NetlinkReply,
): { readonly to: Prefix; readonly protocol: number; readonly linkIndexes: readonly number[] } | undefined {
  const route = decodeMainRoute(reply)
  if (route === undefined) return undefined
  // The kernel writes IPv6 routes that refuse packets down with the index of lo.
  const linkIndexes = route.refuses ? [] : nextHopsOf(route.attributes).map(hop => hop.linkIndex)
  return { to: route.to, protocol: route.protocol, linkIndexes }
}

interface MainRoute {
  readonly to: Prefix
  readonly protocol: number
  /** True for unreachable, prohibit and blackhole. */
  readonly refuses: boolean
  readonly attributes: Attributes
}

/** Undefined for a route of another table than the main one, or of a family that we do not use. */
function decodeMainRoute(reply: NetlinkReply): MainRoute | undefined {
  const header = rt.parseRoute(head(reply, rt.__LENGTH_Route))
  const attributes = attributesOf(reply, rt.__LENGTH_Route)
  const table = attributes.get(RTA.table)
  if ((table === undefined ? header.table : getU32(table)) !== rt.RoutingTableClass.MAIN) return undefined
  const family = header.family === AF_INET ? 4 : header.family === AF_INET6 ? 6 : undefined
  if (family === undefined) return undefined
  const dst = attributes.get(RTA.dst)
  const to = dst === undefined ? defaultPrefix(family) : prefixOf(addressFromBytes(dst), header.dstLen ?? 0)
  // The codec turns a number that it knows into a name.
  const protocol = typeof header.protocol === 'string' ? rt.RouteProtocol[header.protocol] : (header.protocol ?? 0)
  return { to, protocol, refuses: REFUSING.has(header.type), attributes }
}

/** The indexes of the links that a route leads through: none for one that leads nowhere, several for a multipath route. */
export function routeLinkIndexes(reply: NetlinkReply): readonly number[] {
  return nextHopsOf(attributesOf(reply, rt.__LENGTH_Route)).map(hop => hop.linkIndex)
}

export interface NextHop {
  readonly linkIndex: number
  readonly via?: Address
}

export function nextHopsOf(attributes: Attributes): readonly NextHop[] {
  const oif = attributes.get(RTA.oif)
  if (oif !== undefined) return [nextHop(getU32(oif), attributes)]
  const hops: NextHop[] = []
  let rest = attributes.get(RTA.multipath) ?? Buffer.alloc(0)
  while (rest.length >= NEXT_HOP_BYTES) {
    const length = getU16(rest.subarray(0, 2))
    if (length < NEXT_HOP_BYTES || length > rest.length)
      throw new Error(`next hop of ${length} bytes in ${rest.length}`)
    hops.push(nextHop(getU32(rest.subarray(4, 8)), mapOf(rest.subarray(NEXT_HOP_BYTES, length))))
    rest = rest.subarray((length + 3) & ~3)
  }
  return hops
}

function nextHop(linkIndex: number, attributes: Attributes): NextHop {
  // RTA_VIA is a next hop of the other family: struct rtvia has the family in two bytes, then the address.
  const via = attributes.get(RTA.gateway) ?? attributes.get(RTA.via)?.subarray(2)
  return via === undefined ? { linkIndex } : { linkIndex, via: addressFromBytes(via) }
}

/** The neighbour, or undefined for an entry of a family that we do not use. */
export function decodeNeighbour(reply: NetlinkReply): ObservedNeighbour | undefined {
  const header = rt.parseNeighbor(head(reply, rt.__LENGTH_Neighbor))
  if (header.family !== AF_INET && header.family !== AF_INET6) return undefined
  const attributes = attributesOf(reply, rt.__LENGTH_Neighbor)
  const dst = attributes.get(NDA.dst)
  if (dst === undefined) return undefined
  const address: Address = addressFromBytes(dst)
  const mac = macOf(attributes.get(NDA.lladdr))
  return { address, isPermanent: header.state?.permanent ?? false, ...(mac === undefined ? {} : { mac }) }
}

export function head(reply: NetlinkReply, length: number): Buffer {
  return reply.payload.subarray(0, length)
}

export function attributesOf(reply: NetlinkReply, headerLength: number): Attributes {
  return mapOf(reply.payload.subarray(headerLength))
}

export function mapOf(bytes: Buffer): Attributes {
  return getMap(bytes, value => value)
}

export function macOf(bytes: Buffer | undefined): Mac | undefined {
  // Loopback has an all-zero address, tunnels one of another length: neither is an Ethernet address of ours.
  return bytes?.length === 6 ? macFromBytes(bytes) : undefined
}

function textOf(bytes: Buffer | undefined): string | undefined {
  return bytes === undefined ? undefined : getString(bytes)
}

function numberOf(bytes: Buffer | undefined): number {
  return bytes === undefined ? 0 : getU32(bytes)
}

import * as ifla from 'netlink/dist/rt/ifla.js'
import * as rt from 'netlink/dist/rt/structs.js'
import { getU32 } from 'netlink/dist/structs.js'
import { addressFromBytes } from '../net/address.ts'
import { defaultPrefix, prefixOf } from '../net/prefix.ts'
import type { Forwarding, LinkAddress, MainRoute, NodeLink, VxlanSettings } from '../plan/node-kernel.ts'
import type { NetlinkReply } from './netlink-socket.ts'
import {
  addressLinkIndex,
  attributesOf,
  decodeAddress,
  decodeLink,
  head,
  macOf,
  mapOf,
  nextHopsOf,
} from './rtnetlink-decode.ts'
import { AF_INET, AF_INET6 } from './rtnetlink-encode.ts'

/*
 * rtnetlink(7) replies as what is known of the node, beside what rtnetlink-decode.ts reads for a pod.
 */

// Attribute numbers from linux/if_link.h, rtnetlink.h and neighbour.h.
const IFLA_LINKINFO = 18
const IFLA_VXLAN = { id: 1, local: 4, learning: 7, port: 15, local6: 17 } as const
const RTA = { dst: 1, priority: 6, table: 15 } as const
const NDA = { dst: 1, lladdr: 2 } as const

export function decodeNodeLink(reply: NetlinkReply): NodeLink {
  const link = decodeLink(reply)
  const info = attributesOf(reply, rt.__LENGTH_Link).get(IFLA_LINKINFO)
  const data = link.kind === 'vxlan' && info !== undefined ? ifla.parseInfo(info).data : undefined
  return data === undefined ? link : { ...link, vxlan: vxlanOf(data) }
}

function vxlanOf(data: Buffer): VxlanSettings {
  const attributes = mapOf(data)
  const id = attributes.get(IFLA_VXLAN.id)
  const local = attributes.get(IFLA_VXLAN.local) ?? attributes.get(IFLA_VXLAN.local6)
  return {
    vni: id === undefined ? 0 : getU32(id),
    port: attributes.get(IFLA_VXLAN.port)?.readUInt16BE() ?? 0,
    learns: attributes.get(IFLA_VXLAN.learning)?.[0] !== 0,
    // All zero stands for any address.
    ...(local === undefined || local.every(byte => byte === 0) ? {} : { local: addressFromBytes(local) }),
  }
}

/** Undefined for an address of a family that we do not use. */
export function decodeLinkAddress(reply: NetlinkReply): LinkAddress | undefined {
  const observed = decodeAddress(reply)
  return observed && { linkIndex: addressLinkIndex(reply), address: observed.address }
}

/** Undefined for a route of another table than the main one, of a family that we do not use, and for cached ones. */
export function decodeMainRoute(reply: NetlinkReply): MainRoute | undefined {
  const header = rt.parseRoute(head(reply, rt.__LENGTH_Route))
  const attributes = attributesOf(reply, rt.__LENGTH_Route)
  const table = attributes.get(RTA.table)
  if ((table === undefined ? header.table : getU32(table)) !== rt.RoutingTableClass.MAIN) return undefined
  const family = header.family === AF_INET ? 4 : header.family === AF_INET6 ? 6 : undefined
  if (family === undefined || header.flags?.cloned === true) return undefined
  const dst = attributes.get(RTA.dst)
  const priority = attributes.get(RTA.priority)
  const hops = nextHopsOf(attributes)
  const [hop] = hops
  const isUnicast = header.type === 'UNICAST'
  return {
    to: dst === undefined ? defaultPrefix(family) : prefixOf(addressFromBytes(dst), header.dstLen ?? 0),
    // The codec turns a number that it knows into a name.
    protocol: typeof header.protocol === 'string' ? rt.RouteProtocol[header.protocol] : (header.protocol ?? 0),
    metric: priority === undefined ? 0 : getU32(priority),
    ...(isUnicast && hops.length === 1 && hop !== undefined ? hop : {}),
  }
}

/** Undefined for an entry that names no node: of another kind of device. */
export function decodeForwarding(reply: NetlinkReply): Forwarding | undefined {
  const attributes = attributesOf(reply, rt.__LENGTH_Neighbor)
  const mac = macOf(attributes.get(NDA.lladdr))
  const dst = attributes.get(NDA.dst)
  return mac === undefined || dst === undefined ? undefined : { mac, to: addressFromBytes(dst) }
}

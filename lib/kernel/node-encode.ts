import * as ifla from 'netlink/dist/rt/ifla.js'
import * as rt from 'netlink/dist/rt/structs.js'
import { macToBytes } from '../net/mac.ts'
import type { Prefix } from '../net/prefix.ts'
import { LINK_GROUP, NODE_ROUTE_METRIC, NODE_ROUTE_PROTOCOL } from '../plan/marks.ts'
import type { AddVxlan, DeleteForwarding, NodeRoute, SetForwarding, SetMtu } from '../plan/node-operation.ts'
import type { NetlinkRequest } from './netlink-socket.ts'
import {
  bytesOf,
  destination,
  familyNumber,
  flatten,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  payload,
  SKIP_STATS,
} from './rtnetlink-encode.ts'

/*
 * The operations of the node, beside those of a pod, as rtnetlink(7) requests.
 */

/** The family of entries that say at which node a hardware address is (linux/socket.h). */
const AF_BRIDGE = 7
/** RTNH_F_ONLINK: the codec knows the flags of look-ups only. */
const ON_LINK = 4
/** The codecs' enum knows no number of ours; as a plain number it passes. */
const OUR_PROTOCOL: number = NODE_ROUTE_PROTOCOL

export function addVxlan({ link, mac, vni, port, local, mtuBytes }: AddVxlan): NetlinkRequest {
  const portBytes = Buffer.alloc(2)
  portBytes.writeUInt16BE(port)
  const data = ifla.formatVxlan({
    id: vni,
    ...(local.family === 4 ? { local: bytesOf(local) } : { local6: bytesOf(local) }),
    port: portBytes,
    // What comes in must not decide where replies go: the entries are ours alone.
    learning: 0,
  })
  const attributes = ifla.formatLinkAttrs({
    ifname: link,
    address: Buffer.from(macToBytes(mac)),
    mtu: mtuBytes,
    group: LINK_GROUP,
    linkinfo: flatten([ifla.formatInfo({ kind: 'vxlan', data: flatten([data]) })]),
  })
  return {
    type: rt.MessageType.NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    payload: payload(rt.formatLink({}), attributes),
  }
}

export function setMtu({ mtuBytes }: SetMtu, index: number): NetlinkRequest {
  return {
    type: rt.MessageType.NEWLINK,
    flags: 0,
    payload: payload(rt.formatLink({ index }), ifla.formatLinkAttrs({ mtu: mtuBytes })),
  }
}

export function setForwarding({ mac, to }: SetForwarding, index: number): NetlinkRequest {
  const data = rt.formatNeighbor({
    family: AF_BRIDGE,
    ifindex: index,
    state: { permanent: true },
    flags: { self: true },
  })
  const attributes = rt.formatNeighborAttrs({ dst: bytesOf(to), lladdr: Buffer.from(macToBytes(mac)) })
  return { type: rt.MessageType.NEWNEIGH, flags: NLM_F_CREATE | NLM_F_REPLACE, payload: payload(data, attributes) }
}

export function deleteForwarding({ mac }: DeleteForwarding, index: number): NetlinkRequest {
  const data = rt.formatNeighbor({ family: AF_BRIDGE, ifindex: index, flags: { self: true } })
  const attributes = rt.formatNeighborAttrs({ lladdr: Buffer.from(macToBytes(mac)) })
  return { type: rt.MessageType.DELNEIGH, flags: 0, payload: payload(data, attributes) }
}

/** @param how 'add' is refused when there is one with our metric; 'change' takes the place of the one that is there. */
export function setNodeRoute(how: 'add' | 'change', route: NodeRoute, index: number): NetlinkRequest {
  const data = rt.formatRoute({
    ...routeHeader(route.to),
    scope: rt.RouteScope.UNIVERSE,
    type: rt.RouteType.UNICAST,
    ...(route.isOnLink ? { flags: { __unknown: ON_LINK } } : {}),
  })
  const attributes = rt.formatRouteAttrs({
    ...destination(route.to),
    gateway: bytesOf(route.via),
    oif: index,
    priority: NODE_ROUTE_METRIC,
  })
  return {
    type: rt.MessageType.NEWROUTE,
    flags: NLM_F_CREATE | (how === 'add' ? NLM_F_EXCL : NLM_F_REPLACE),
    payload: payload(data, attributes),
  }
}

export function deleteNodeRoute(to: Prefix): NetlinkRequest {
  const data = rt.formatRoute({ ...routeHeader(to), scope: rt.RouteScope.NOWHERE })
  const attributes = rt.formatRouteAttrs({ ...destination(to), priority: NODE_ROUTE_METRIC })
  return { type: rt.MessageType.DELROUTE, flags: 0, payload: payload(data, attributes) }
}

function routeHeader(to: Prefix): { family: number; dstLen: number; table: number; protocol: number } {
  return {
    family: familyNumber(to.address.family),
    dstLen: to.prefixLength,
    table: rt.RoutingTableClass.MAIN,
    protocol: OUR_PROTOCOL,
  }
}

export function dumpLinks(): NetlinkRequest {
  return {
    type: rt.MessageType.GETLINK,
    flags: 0,
    payload: payload(rt.formatLink({}), ifla.formatLinkAttrs({ extMask: SKIP_STATS })),
  }
}

/** The routes of one family in the main table, of every kind. */
export function dumpMainRoutes(family: 4 | 6): NetlinkRequest {
  const data = rt.formatRoute({ family: familyNumber(family), table: rt.RoutingTableClass.MAIN })
  return { type: rt.MessageType.GETROUTE, flags: 0, payload: payload(data, []) }
}

export function dumpForwarding(index: number): NetlinkRequest {
  return {
    type: rt.MessageType.GETNEIGH,
    flags: 0,
    payload: payload(rt.formatNeighbor({ family: AF_BRIDGE, ifindex: index }), []),
  }
}

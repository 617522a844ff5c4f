import { closeSync } from 'node:fs'
import * as rt from 'netlink/dist/rt/structs.js'
import type { NativeAddon } from '../../native/addon.ts'
import { HOST_IF_NAME_PREFIX, NODE_ROUTE_PROTOCOL } from '../plan/marks.ts'
import { isNativeError } from './native-error.ts'
import { decodeMessages } from './netlink-message.ts'
import { decodeLink } from './rtnetlink-decode.ts'
import { NETLINK_ROUTE, OWN_NETNS, type NetlinkReply } from './netlink-socket.ts'

/** Types of messages (linux/rtnetlink.h). */
const RTM = {
  newLink: 16,
  deleteLink: 17,
  newAddr: 20,
  deleteAddr: 21,
  newRoute: 24,
  deleteRoute: 25,
  deleteNeigh: 29,
} as const
/** RTMGRP_LINK, RTMGRP_NEIGH, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE. */
const GROUPS = 0x1 | 0x4 | 0x10 | 0x40 | 0x100 | 0x400
/** A wait cannot be broken off: it is kept short, so that the program can end. */
const WAIT_MS = 500

/**
 * Calls `onChange` when something on the node changed that may matter to the routes to other nodes: a route of ours, an
 * address or a link that is no pod's, an entry of the overlay. Called too when the kernel had to drop notifications. What changed is not
 * told: whoever is called looks at everything.
 *
 * Resolves when `signal` says stop. @throws {NativeError} when the kernel does not tell.
 */
export async function watchNode(addon: NativeAddon, { signal, isOverlay, onChange }: WatchOptions): Promise<void> {
  const fd = addon.openNetlinkListener(OWN_NETNS, NETLINK_ROUTE, GROUPS)
  try {
    const pods = new Set<number>()
    while (!signal.aborted) {
      const bytes = await receive(addon, fd)
      if (bytes === undefined || matters(bytes, { pods, isOverlay })) onChange()
    }
  } finally {
    closeSync(fd)
  }
}

export interface WatchOptions {
  readonly signal: AbortSignal
  /** Whether a link is the node's VXLAN device. */
  readonly isOverlay: (linkIndex: number) => boolean
  readonly onChange: () => void
}

interface Known {
  /** The links of pods, as far as they were heard of. */
  readonly pods: Set<number>
  readonly isOverlay: (linkIndex: number) => boolean
}

/** Undefined when notifications were lost. */
async function receive(addon: NativeAddon, fd: number): Promise<Buffer | undefined> {
  try {
    return await addon.receive(fd, WAIT_MS)
  } catch (cause) {
    if (isNativeError(cause) && cause.code === 'ENOBUFS') return undefined
    throw cause
  }
}

function matters(bytes: Buffer, known: Known): boolean {
  let isRelevant = false
  // All are looked at: each may tell of a link of a pod.
  for (const { type, flags, data } of decodeMessages(bytes)) {
    if (isOneThatMatters({ type, flags, payload: data }, known)) isRelevant = true
  }
  return isRelevant
}

function isOneThatMatters(reply: NetlinkReply, { pods, isOverlay }: Known): boolean {
  switch (reply.type) {
    case RTM.newLink:
    case RTM.deleteLink: {
      const { index, name } = decodeLink(reply)
      if (!name.startsWith(HOST_IF_NAME_PREFIX)) return true
      if (reply.type === RTM.newLink) pods.add(index)
      else pods.delete(index)
      return false
    }
    case RTM.newAddr:
    case RTM.deleteAddr:
      return !pods.has(rt.parseAddress(reply.payload.subarray(0, rt.__LENGTH_Address)).index ?? 0)
    case RTM.newRoute:
    case RTM.deleteRoute:
      return rt.parseRoute(reply.payload.subarray(0, rt.__LENGTH_Route)).protocol === ROUTE_PROTOCOL_NUMBER
    case RTM.deleteNeigh:
      return isOverlay(rt.parseNeighbor(reply.payload.subarray(0, rt.__LENGTH_Neighbor)).ifindex ?? 0)
    default:
      return false
  }
}

/** The codecs' enum knows no number of ours; as a plain number it passes. */
const ROUTE_PROTOCOL_NUMBER: unknown = NODE_ROUTE_PROTOCOL

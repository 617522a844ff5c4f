import type { ObservedShaping } from '../plan/observed.ts'
import type { NetlinkReply } from './netlink-socket.ts'
import { attributesOf, mapOf } from './rtnetlink-decode.ts'
import {
  ACTION,
  EVERYTHING_FIRST,
  MIRRED_DOING_OFFSET,
  MIRRED_EGRESS_REDIRECT,
  MIRRED_LINK_OFFSET,
  MIRRED_PARMS,
  MIRRED_PARMS_BYTES,
  RATE_OFFSET,
  TBF,
  TBF_LIMIT_OFFSET,
  TBF_PARMS_BYTES,
  TCA,
  TC_HEADER_BYTES,
  U32,
  U32_KEY_BYTES,
  U32_SELECTOR_BYTES,
} from './traffic-control-encode.ts'

/*
 * Answers of traffic control: what of qdiscs and filters CHECK compares. Whatever is not as we make it is told as absent.
 */

const INFO_OFFSET = 16

/** The token bucket that a qdisc is; undefined when it is another kind. */
export function decodeShaper(reply: NetlinkReply): ObservedShaping['shaper'] {
  const options = optionsOf(reply, 'tbf')
  const parms = options?.get(TBF.parms)
  if (parms === undefined || parms.length < TBF_PARMS_BYTES) return undefined
  const rate64 = options?.get(TBF.rate64)
  return {
    bytesPerSecond: rate64 === undefined ? parms.readUInt32LE(RATE_OFFSET) : Number(rate64.readBigUInt64LE()),
    limitBytes: parms.readUInt32LE(TBF_LIMIT_OFFSET),
  }
}

/** The index of the link that a filter leads every packet through; undefined for a filter that does something else. */
export function decodeRedirect(reply: NetlinkReply): number | undefined {
  const options = optionsOf(reply, 'u32')
  if (options === undefined || reply.payload.readUInt32LE(INFO_OFFSET) !== EVERYTHING_FIRST) return undefined
  const selector = options.get(U32.selector)
  const actions = options.get(U32.action)
  if (selector === undefined || actions === undefined || !matchesAll(selector)) return undefined
  const [first] = mapOf(actions).values()
  return first === undefined ? undefined : linkOfAction(first)
}

/** Undefined for an action that does something else, and for one whose link is gone. */
function linkOfAction(bytes: Buffer): number | undefined {
  const action = mapOf(bytes)
  const options = textOf(action.get(ACTION.kind)) === 'mirred' ? action.get(ACTION.options) : undefined
  const parms = options && mapOf(options).get(MIRRED_PARMS)
  if (parms === undefined || parms.length < MIRRED_PARMS_BYTES) return undefined
  if (parms.readInt32LE(MIRRED_DOING_OFFSET) !== MIRRED_EGRESS_REDIRECT) return undefined
  return parms.readUInt32LE(MIRRED_LINK_OFFSET) || undefined
}

/** True when no key of the selector looks at a bit. The mask is a key's first 4 bytes. */
function matchesAll(selector: Buffer): boolean {
  for (let at = U32_SELECTOR_BYTES; at + U32_KEY_BYTES <= selector.length; at += U32_KEY_BYTES) {
    if (selector.readUInt32LE(at) !== 0) return false
  }
  return true
}

function optionsOf(reply: NetlinkReply, kind: string): ReadonlyMap<number, Buffer> | undefined {
  const attributes = attributesOf(reply, TC_HEADER_BYTES)
  const options = attributes.get(TCA.options)
  return textOf(attributes.get(TCA.kind)) === kind && options !== undefined ? mapOf(options) : undefined
}

function textOf(bytes: Buffer | undefined): string | undefined {
  return bytes?.toString('utf8').replace(/\0+$/, '')
}

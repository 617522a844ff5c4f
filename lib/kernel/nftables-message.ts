import { getMap, type AttrStream, type StreamData } from 'netlink/dist/structs.js'
import type { NetlinkReply, NetlinkRequest } from './netlink-socket.ts'

/*
 * Messages of nf_tables (linux/netfilter/nf_tables.h). Numbers in nf_tables are big-endian, but for what a register holds as
 * the host does.
 */

const SUBSYSTEM = 10
const BATCH_BEGIN = 0x10
const BATCH_END = 0x11
const NFPROTO_INET = 1
/** struct nfgenmsg, before the attributes of every message. */
const GENERIC_HEADER_BYTES = 4
const USERDATA_COMMENT = 0

export const NLM_F_CREATE = 0x400
export const NLM_F_APPEND = 0x800
export const NLM_F_EXCL = 0x200

export const MESSAGE = {
  newTable: 0,
  getTable: 1,
  delTable: 2,
  newChain: 3,
  getChain: 4,
  delChain: 5,
  newRule: 6,
  getRule: 7,
  delRule: 8,
  newSet: 9,
  getSet: 10,
  delSet: 11,
  newElement: 12,
  getElement: 13,
  delElement: 14,
  getGeneration: 16,
} as const

/** An item of a list of attributes. */
export const LIST_ELEMENT = 1
/** Of a constant, and of what an element of a map leads to. */
export const DATA = { value: 1, verdict: 2 } as const
export const VERDICT = { code: 1, chain: 2 } as const
/** enum nf_verdict, enum nft_verdicts. */
export const VERDICT_CODE = { drop: 0, jump: -3, return: -5 } as const

/** A message about our table; or about those of another `family`. */
export function request(
  message: number,
  flags: number,
  encode: (out: AttrStream) => void,
  family = NFPROTO_INET,
): NetlinkRequest {
  return { type: (SUBSYSTEM << 8) | message, flags, payload: withHeader(family, 0, encode) }
}

/** One transaction: the kernel does all of it or nothing. */
export function batch(requests: readonly NetlinkRequest[]): readonly NetlinkRequest[] {
  return [batchEdge(BATCH_BEGIN), ...requests, batchEdge(BATCH_END)]
}

function batchEdge(type: number): NetlinkRequest {
  return { type, flags: 0, payload: withHeader(0, SUBSYSTEM, () => {}), unacknowledged: true }
}

/** struct nfgenmsg: family, version 0, resource id. */
export function withHeader(family: number, resource: number, encode: (out: AttrStream) => void): StreamData {
  return out => {
    out.emit(Buffer.from([family, 0, resource >> 8, resource & 0xff]))
    encode(out)
  }
}

/** Writes a chain to go to, or what else ends a rule. */
export function verdict(code: number, chain?: string): (out: AttrStream) => void {
  return out =>
    out.push(DATA.verdict, attributes => {
      attributes.push(VERDICT.code, u32(code))
      if (chain !== undefined) attributes.push(VERDICT.chain, text(chain))
    })
}

/** Userdata as nft(8) writes it: a sequence of (type u8, length u8, value), of which the comment is the first. */
export function commentUserdata(comment: string): Buffer {
  const bytes = text(comment)
  return Buffer.concat([Buffer.from([USERDATA_COMMENT, bytes.length]), bytes])
}

/** The comment in userdata; undefined when there is none. */
export function commentIn(userdata: Buffer | undefined): string | undefined {
  if (userdata === undefined || userdata[0] !== USERDATA_COMMENT) return undefined
  return textOf(userdata.subarray(2, 2 + (userdata[1] ?? 0)))
}

/** The attributes of a message. */
export function attributesIn(reply: NetlinkReply): ReadonlyMap<number, Buffer> {
  return attributesOf(reply.payload.subarray(GENERIC_HEADER_BYTES))
}

/** The attributes nested in one. */
export function attributesOf(bytes: Buffer | undefined): ReadonlyMap<number, Buffer> {
  return bytes === undefined ? new Map() : getMap(bytes, value => value)
}

export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`)
}

export function textOf(bytes: Buffer | undefined): string {
  return (bytes?.toString() ?? '').replace(/\0+$/, '')
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32BE(value | 0)
  return bytes
}

/** A number as the registers of the kernel hold it. */
export function hostU32(value: number): Buffer {
  // Node runs on little-endian Linux only where we build (x64, arm64).
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

import { AttrStream, parseMessages } from 'netlink/dist/structs.js'
import type { NetlinkMessage, StreamData } from 'netlink/dist/structs.js'

/**
 * Flags of a netlink message header (linux/netlink.h). The values above 0x80 mean one thing in each kind of message.
 */
export const NLM_F_REQUEST = 0x01
export const NLM_F_ACK = 0x04
export const NLM_F_DUMP_INTR = 0x10
/** Of a GET: every object, not one. */
export const NLM_F_DUMP = 0x300
/** Of a NEW: fail with EEXIST when it exists. */
export const NLM_F_EXCL = 0x200
/** Of a NEW: overwrite what exists. */
export const NLM_F_REPLACE = 0x100
/** Of a NEW: make it when it does not exist. */
export const NLM_F_CREATE = 0x400
/** Of an ERROR: the refused request is not repeated in it. */
const NLM_F_CAPPED = 0x100
/** Of an ERROR or a DONE: attributes follow. */
const NLM_F_ACK_TLVS = 0x200

export const NLMSG_ERROR = 2
export const NLMSG_DONE = 3
/** Types below this one belong to netlink itself. */
const NLMSG_MIN_TYPE = 16

const NLMSGERR_ATTR_MSG = 1
const NLA_TYPE_MASK = 0x3fff
const HEADER_BYTES = 16
const ERRNO_BYTES = 4
const ATTRIBUTE_HEADER_BYTES = 4

/** The body of a message: a fixed header, then attributes, as the codecs of `netlink` make them. May be nested. */
export type NetlinkPayload = StreamData | readonly NetlinkPayload[]

/** A message with everything but its bytes. */
export interface OutgoingMessage {
  readonly type: number
  readonly flags: number
  readonly seq: number
  readonly payload: NetlinkPayload
}

/** How a request ended: `errno` is 0 or negative. */
export interface Verdict {
  readonly errno: number
  readonly extAck: string | undefined
}

/** Encodes messages for one sendto(2), each aligned to 4 bytes. */
export function encodeMessages(messages: readonly OutgoingMessage[]): Buffer {
  const parts = messages.map(message => {
    const stream = new AttrStream()
    emit(stream, message.payload)
    const length = stream.bufs.reduce((sum, part) => sum + part.length, HEADER_BYTES)
    return { message, body: stream.bufs, length }
  })
  const bytes = Buffer.alloc(parts.reduce((sum, { length }) => sum + alignTo4(length), 0))
  const view = viewOf(bytes)
  let start = 0
  for (const { message, body, length } of parts) {
    view.setUint32(start, length, LITTLE_ENDIAN)
    view.setUint16(start + 4, message.type, LITTLE_ENDIAN)
    view.setUint16(start + 6, message.flags, LITTLE_ENDIAN)
    view.setUint32(start + 8, message.seq, LITTLE_ENDIAN)
    // The port stays 0: the kernel knows whose socket it is.
    let at = start + HEADER_BYTES
    for (const part of body) {
      bytes.set(part, at)
      at += part.length
    }
    start += alignTo4(length)
  }
  return bytes
}

function emit(stream: AttrStream, payload: NetlinkPayload): void {
  if (isList(payload)) for (const part of payload) emit(stream, part)
  else stream.emit(payload)
}

function isList(payload: NetlinkPayload): payload is readonly NetlinkPayload[] {
  return Array.isArray(payload)
}

/**
 * Splits what the kernel sent into messages.
 *
 * @throws {Error} when a length does not fit.
 */
export function decodeMessages(bytes: Buffer): readonly NetlinkMessage[] {
  return parseMessages(bytes)
}

/** True for a message that carries an object, false for an ACK, error or end of a dump. */
export function carriesObject(message: NetlinkMessage): boolean {
  return message.type >= NLMSG_MIN_TYPE
}

/** Reads the verdict of an NLMSG_ERROR (an ACK is one with errno 0) or NLMSG_DONE; undefined for other messages. */
export function verdictOf(message: NetlinkMessage): Verdict | undefined {
  if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) return undefined
  const { data, flags } = message
  if (data.length < ERRNO_BYTES) return { errno: 0, extAck: undefined }
  const hasAttributes = (flags & NLM_F_ACK_TLVS) !== 0
  return {
    errno: viewOf(data).getInt32(0, LITTLE_ENDIAN),
    extAck: hasAttributes ? messageAttribute(data.subarray(attributesOffset(message))) : undefined,
  }
}

/**
 * An NLMSG_ERROR repeats the header of the request, and all of the request unless capped; NLMSG_DONE repeats nothing.
 */
function attributesOffset({ type, flags, data }: NetlinkMessage): number {
  if (type === NLMSG_DONE) return ERRNO_BYTES
  if ((flags & NLM_F_CAPPED) !== 0 || data.length < ERRNO_BYTES + HEADER_BYTES) return ERRNO_BYTES + HEADER_BYTES
  return ERRNO_BYTES + alignTo4(viewOf(data).getUint32(ERRNO_BYTES, LITTLE_ENDIAN))
}

/** The text of NLMSGERR_ATTR_MSG. Malformed attributes end the search: the errno matters more than its text. */
function messageAttribute(attributes: Buffer): string | undefined {
  const view = viewOf(attributes)
  for (let at = 0; at + ATTRIBUTE_HEADER_BYTES <= attributes.length;) {
    const length = view.getUint16(at, LITTLE_ENDIAN)
    if (length < ATTRIBUTE_HEADER_BYTES || at + length > attributes.length) return undefined
    if ((view.getUint16(at + 2, LITTLE_ENDIAN) & NLA_TYPE_MASK) === NLMSGERR_ATTR_MSG) {
      const text = attributes.subarray(at + ATTRIBUTE_HEADER_BYTES, at + length)
      return text.toString('utf8').replace(/\0+$/, '')
    }
    at += alignTo4(length)
  }
  return undefined
}

// Netlink uses the byte order of the machine. Node runs on little-endian Linux only where we build (x64, arm64).
const LITTLE_ENDIAN = true

function viewOf(bytes: Buffer): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function alignTo4(length: number): number {
  return (length + 3) & ~3
}

import ipaddr from 'ipaddr.js'

import { ParseError } from './parse-error.ts'
import { quoteText } from './quote-text.ts'

/** IP version: 4 or 6. */
export type Family = 4 | 6

/** An IPv4 or IPv6 address without a prefix length. `value` is its bits as an unsigned number, first byte highest. */
export interface Address {
  readonly family: Family
  readonly value: bigint
}

/** The 96 bits that open an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2), as a number. */
const V4_MAPPED = 0xffffn

/** The longest IPv6 text is eight groups of four digits, or six groups and a dotted quad: 45 characters. */
const MAX_TEXT_LENGTH = 45

/**
 * Parses an address in its usual text form: a dotted quad, or RFC 4291 text.
 *
 * Rejects the forms that `inet_aton` accepts ("10.1", "0x0a.0.0.1", "010.0.0.1"): text that needs guessing is an error.
 * Rejects zone identifiers, and IPv4-mapped IPv6 addresses: on the wire those are IPv4, so which one was meant is a guess.
 *
 * @throws {ParseError} naming the text that was refused.
 */
export function parseAddress(text: string): Address {
  if (text.length <= MAX_TEXT_LENGTH) {
    if (ipaddr.IPv4.isValidFourPartDecimal(text)) return fromOctets(ipaddr.IPv4.parse(text))
    if (isStrictV6(text)) return refuseMapped(fromOctets(ipaddr.IPv6.parse(text)), text)
  }
  const reason = text.includes('%') ? 'an address without a zone' : 'dotted quad or RFC 4291 text'
  throw new ParseError(`Cannot parse address ${quoteText(text)}: want ${reason}`)
}

/**
 * Formats an address: a dotted quad, or IPv6 text as RFC 5952 wants it.
 *
 * `parseAddress` reads it back, but for IPv4-mapped addresses, which it refuses. Those come from the kernel only.
 */
export function formatAddress(address: Address): string {
  if (address.family === 4) return addressToBytes(address).join('.')
  if (isMapped(address)) return `::ffff:${formatAddress(mappedV4(address))}` // RFC 5952, section 5
  return new ipaddr.IPv6([...addressToBytes(address)]).toRFC5952String()
}

/**
 * Makes an address of 4 or 16 bytes in network order, as netlink carries them.
 *
 * @throws {RangeError} when there are more or fewer bytes.
 */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length !== 4 && bytes.length !== 16) {
    throw new RangeError(`Cannot make an address of ${bytes.length} bytes: want 4 or 16`)
  }
  let value = 0n
  for (const byte of bytes) value = (value << 8n) | BigInt(byte)
  return { family: bytes.length === 4 ? 4 : 6, value }
}

/** The 4 or 16 bytes of an address, in network order. */
export function addressToBytes(address: Address): Uint8Array {
  const bytes = new Uint8Array(address.family === 4 ? 4 : 16)
  const view = new DataView(bytes.buffer)
  if (address.family === 4) {
    view.setUint32(0, Number(address.value))
  } else {
    view.setBigUint64(0, address.value >> 64n)
    view.setBigUint64(8, BigInt.asUintN(64, address.value))
  }
  return bytes
}

/** Orders addresses: IPv4 before IPv6, then by value. Negative, zero or positive, for `sort`. */
export function compareAddresses(a: Address, b: Address): number {
  if (a.family !== b.family) return a.family - b.family
  if (a.value === b.value) return 0
  return a.value < b.value ? -1 : 1
}

/** Whether both are the same address of the same family. */
export function equalAddresses(a: Address, b: Address): boolean {
  return a.family === b.family && a.value === b.value
}

/**
 * The address of `family` whose bits are `value`.
 *
 * @throws {RangeError} when the family has no such address.
 */
export function addressAt(family: Family, value: bigint): Address {
  const bits = family === 4 ? 32n : 128n
  if (value < 0n || value >= 1n << bits) {
    throw new RangeError(`Cannot make an IPv${family} address of ${value}: want 0 to 2^${bits} - 1`)
  }
  return { family, value }
}

function isStrictV6(text: string): boolean {
  if (!text.includes(':') || text.includes('%') || !ipaddr.IPv6.isValid(text)) return false
  // ipaddr.js reads "::010.0.0.1" as octal: hold the dotted tail to the rule for IPv4.
  const tail = text.slice(text.lastIndexOf(':') + 1)
  return !tail.includes('.') || ipaddr.IPv4.isValidFourPartDecimal(tail)
}

function refuseMapped(address: Address, text: string): Address {
  if (!isMapped(address)) return address
  const meant = formatAddress(mappedV4(address))
  throw new ParseError(`Cannot parse address ${quoteText(text)}: it is IPv4-mapped; want ${meant}`)
}

function isMapped(address: Address): boolean {
  return address.family === 6 && address.value >> 32n === V4_MAPPED
}

function mappedV4(address: Address): Address {
  return { family: 4, value: BigInt.asUintN(32, address.value) }
}

function fromOctets(parsed: ipaddr.IPv4 | ipaddr.IPv6): Address {
  return addressFromBytes(Uint8Array.from(parsed.toByteArray()))
}

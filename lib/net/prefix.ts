import { addressAt, formatAddress, parseAddress } from './address.ts'
import { ParseError } from './parse-error.ts'
import { quoteText } from './quote-text.ts'
import type { Address, Family } from './address.ts'

/** A network: an address whose host bits are all zero, and the number of bits that count. */
export interface Prefix {
  readonly address: Address
  readonly prefixLength: number
}

/** An interface address with the length of its network ("10.1.2.3/24"): host bits may be set. */
export interface AddressWithLength {
  readonly address: Address
  readonly prefixLength: number
}

/**
 * Parses a network, "10.244.0.0/16" or "fd00::/8".
 *
 * @throws {ParseError} naming the text. When host bits are set it names the prefix that was probably meant.
 */
export function parsePrefix(text: string): Prefix {
  const { address, prefixLength } = parseAddressWithLength(text)
  const prefix = prefixOf(address, prefixLength)
  if (prefix.address.value !== address.value) {
    throw new ParseError(`Cannot parse prefix ${quoteText(text)}: host bits are set; want ${formatPrefix(prefix)}`)
  }
  return prefix
}

/**
 * Parses an address with the length of its network, "10.1.2.3/24". The length is demanded.
 *
 * @throws {ParseError} naming the text.
 */
export function parseAddressWithLength(text: string): AddressWithLength {
  const slash = text.indexOf('/')
  if (slash < 0) throw new ParseError(`Cannot parse prefix ${quoteText(text)}: want ADDRESS/LENGTH`)
  const address = parseAddress(text.slice(0, slash))
  const length = text.slice(slash + 1)
  const bits = bitsOf(address.family)
  if (!/^(0|[1-9][0-9]{0,2})$/.test(length) || Number(length) > bits) {
    throw new ParseError(`Cannot parse prefix ${quoteText(text)}: want a prefix length of 0 to ${bits}`)
  }
  return { address, prefixLength: Number(length) }
}

/** Formats a prefix, or an address with its length, as "ADDRESS/LENGTH". */
export function formatPrefix(prefix: Prefix | AddressWithLength): string {
  return `${formatAddress(prefix.address)}/${prefix.prefixLength}`
}

/**
 * The network of `prefixLength` bits that holds `address`.
 *
 * @throws {RangeError} when the family has no such length.
 */
export function prefixOf(address: Address, prefixLength: number): Prefix {
  const hostBits = BigInt(bitsOf(address.family) - checkedLength(address.family, prefixLength))
  return { address: { family: address.family, value: (address.value >> hostBits) << hostBits }, prefixLength }
}

/** The prefix that holds `address` and nothing else: /32 or /128. */
export function hostPrefix(address: Address): Prefix {
  return { address, prefixLength: bitsOf(address.family) }
}

/** Number of bits in an address of `family`. */
export function bitsOf(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128
}

/** Whether `address` lies in `prefix`. Never across families. */
export function containsAddress(prefix: Prefix, address: Address): boolean {
  if (prefix.address.family !== address.family) return false
  const hostBits = hostBitsOf(prefix)
  return prefix.address.value >> hostBits === address.value >> hostBits
}

/** Whether every address of `inner` lies in `outer`. A prefix contains itself. */
export function containsPrefix(outer: Prefix, inner: Prefix): boolean {
  return outer.prefixLength <= inner.prefixLength && containsAddress(outer, inner.address)
}

/** Whether some address lies in both. Two prefixes overlap only when one contains the other. */
export function overlaps(a: Prefix, b: Prefix): boolean {
  return containsPrefix(a, b) || containsPrefix(b, a)
}

/** Number of addresses in `prefix`, the first and the last included. */
export function sizeOf(prefix: Prefix): bigint {
  return 1n << hostBitsOf(prefix)
}

/** The lowest address of `prefix`: its network address. */
export function firstAddress(prefix: Prefix): Address {
  return prefix.address
}

/** The highest address of `prefix`: in IPv4 its broadcast address. */
export function lastAddress(prefix: Prefix): Address {
  return addressAt(prefix.address.family, prefix.address.value + sizeOf(prefix) - 1n)
}

/** Whether both are the same network. */
export function equalPrefixes(a: Prefix, b: Prefix): boolean {
  return (
    a.address.family === b.address.family && a.address.value === b.address.value && a.prefixLength === b.prefixLength
  )
}

/** The prefix of the default route: 0.0.0.0/0 or ::/0. */
export function defaultPrefix(family: Family): Prefix {
  return { address: { family, value: 0n }, prefixLength: 0 }
}

function hostBitsOf(prefix: Prefix): bigint {
  return BigInt(bitsOf(prefix.address.family) - prefix.prefixLength)
}

function checkedLength(family: Family, prefixLength: number): number {
  if (Number.isInteger(prefixLength) && prefixLength >= 0 && prefixLength <= bitsOf(family)) return prefixLength
  throw new RangeError(`Cannot use prefix length ${prefixLength} with IPv${family}: want 0 to ${bitsOf(family)}`)
}

import { ParseError } from './parse-error.ts'
import { quoteText } from './quote-text.ts'

declare const macBrand: unique symbol

/** An Ethernet address in one spelling: lower case, six pairs, colons ("02:0a:0b:0c:0d:0e"). Equal text, equal address. */
export type Mac = string & { readonly [macBrand]: true }

/**
 * Parses an Ethernet address: six pairs of hexadecimal digits between colons, in either case.
 *
 * @throws {ParseError} naming the text.
 */
export function parseMac(text: string): Mac {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(text)) {
    throw new ParseError(`Cannot parse MAC address ${quoteText(text)}: want six pairs of digits, 02:0a:0b:0c:0d:0e`)
  }
  return text.toLowerCase() as Mac // checked by the pattern above
}

/**
 * The Ethernet address in six bytes, as netlink carries it.
 *
 * @throws {RangeError} when there are more or fewer bytes.
 */
export function macFromBytes(bytes: Uint8Array): Mac {
  if (bytes.length !== 6) throw new RangeError(`Cannot make a MAC address of ${bytes.length} bytes: want 6`)
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join(':') as Mac // six bytes, two digits each
}

/** The six bytes of an Ethernet address. */
export function macToBytes(mac: Mac): Uint8Array {
  return Uint8Array.from(mac.split(':'), pair => Number.parseInt(pair, 16))
}

/** Whether an interface can have it: it is not zero, and no group address (IEEE 802: the lowest bit of the first byte). */
export function isUsableMac(mac: Mac): boolean {
  const bytes = macToBytes(mac)
  return ((bytes[0] ?? 1) & 1) === 0 && bytes.some(byte => byte !== 0)
}

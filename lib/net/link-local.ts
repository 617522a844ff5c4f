import { addressFromBytes, type Address } from './address.ts'
import { macToBytes, type Mac } from './mac.ts'

/** The IPv6 link-local address that an interface makes of its hardware address (RFC 4291, appendix A). */
export function linkLocalOf(mac: Mac): Address {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macToBytes(mac)
  return addressFromBytes(Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 0x02, b, c, 0xff, 0xfe, d, e, f))
}

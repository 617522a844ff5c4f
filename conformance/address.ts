import { SocketAddress, isIPv4, isIPv6 } from 'node:net'
import type { Family } from './subject.ts'

/** An address with the length of its prefix, in the one form that ip(8) prints. */
export interface Cidr {
  readonly address: string
  readonly prefixLength: number
}

/** Reads CIDR notation; `undefined` when it is none. */
export function parseCidr(text: unknown): Cidr | undefined {
  const [, address = '', length = ''] = typeof text === 'string' ? (/^([^/]+)\/(\d{1,3})$/.exec(text) ?? []) : []
  const canonical = canonicalAddress(address)
  const prefixLength = Number(length)
  if (canonical === undefined || length === '') return undefined
  return prefixLength <= (isIPv4(canonical) ? 32 : 128) ? { address: canonical, prefixLength } : undefined
}

/** An address in the one form that ip(8) prints; `undefined` when it is none. */
export function canonicalAddress(text: string): string | undefined {
  if (isIPv4(text)) return text
  return isIPv6(text) && !text.includes('%') ? new SocketAddress({ address: text, family: 'ipv6' }).address : undefined
}

export function familyOf(address: string): Family {
  return address.includes(':') ? 'ipv6' : 'ipv4'
}

/** The destination of a route as ip(8) prints it: `default`, a bare address for one host, or a prefix. */
export function routeName(text: unknown): string | undefined {
  const cidr = parseCidr(text)
  if (cidr === undefined) return undefined
  if (cidr.prefixLength === 0) return 'default'
  const isHost = cidr.prefixLength === (familyOf(cidr.address) === 'ipv4' ? 32 : 128)
  return isHost ? cidr.address : `${cidr.address}/${cidr.prefixLength}`
}

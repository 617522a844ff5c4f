import type { Address } from '../lib/net/address.ts'

/** The order of addresses for people: IPv4 first, then by value. */
export function compareAddresses(a: Address, b: Address): number {
  if (a.family !== b.family) return a.family - b.family
  return a.value < b.value ? -1 : Number(a.value > b.value)
}

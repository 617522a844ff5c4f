import fc from 'fast-check'

import { addressAt } from './address.ts'
import { bitsOf, prefixOf } from './prefix.ts'
import type { Address, Family } from './address.ts'
import type { AddressWithLength, Prefix } from './prefix.ts'

/** For property tests only. Any address of `family`, with many zero groups among the IPv6 ones, for the sake of "::". */
export function arbitraryAddressOf(family: Family): fc.Arbitrary<Address> {
  if (family === 4) return fc.bigInt(0n, 0xffff_ffffn).map(value => addressAt(4, value))
  const group = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff }))
  return fc
    .array(group, { minLength: 8, maxLength: 8 })
    .map(groups =>
      addressAt(
        6,
        groups.reduce((value, next) => (value << 16n) | BigInt(next), 0n),
      ),
    )
    .filter(address => address.value >> 32n !== 0xffffn) // IPv4-mapped: the parser refuses them
}

/** For property tests only. */
export const arbitraryAddress = fc.oneof(arbitraryAddressOf(4), arbitraryAddressOf(6))

/** For property tests only. */
export const arbitraryAddressWithLength: fc.Arbitrary<AddressWithLength> = arbitraryAddress.chain(address =>
  fc.integer({ min: 0, max: bitsOf(address.family) }).map(prefixLength => ({ address, prefixLength })),
)

/** For property tests only. */
export const arbitraryPrefix: fc.Arbitrary<Prefix> = arbitraryAddressWithLength.map(({ address, prefixLength }) =>
  prefixOf(address, prefixLength),
)

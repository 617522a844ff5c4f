import { formatAddress } from './address.ts'
import type { Address } from './address.ts'

/** The addresses from `first` to `last`, both included and of one family. */
export interface AddressRange {
  readonly first: Address
  readonly last: Address
}

/** "10.0.0.4-10.0.0.9", or the address alone where there is but one. */
export function formatAddressRange({ first, last }: AddressRange): string {
  return first.value === last.value ? formatAddress(first) : `${formatAddress(first)}-${formatAddress(last)}`
}

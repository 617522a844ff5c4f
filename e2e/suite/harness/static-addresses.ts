import { addressAt, formatAddress } from '../../../lib/net/address.ts'
import { firstAddress, parsePrefix } from '../../../lib/net/prefix.ts'

/** Far from what a fresh block leases first: nobody has it. */
const OFFSET = 200n

/** An address of each of a node's pod CIDRs, for the annotation of one pod at a time. */
export function unusedAddressesOf(podCidrs: readonly string[]): readonly string[] {
  return podCidrs.map(text => {
    const { family, value } = firstAddress(parsePrefix(text))
    return formatAddress(addressAt(family, value + OFFSET))
  })
}

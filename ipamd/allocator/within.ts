import type { AddressRange } from '../../lib/net/address-range.ts'
import { addressAt, type Family } from '../../lib/net/address.ts'
import { prefixesOf, type Pool } from './pool.ts'
import { intersect, mergeRanges, rangeOf, type Range } from './range.ts'
import { stepOver, type BlockState, type FamilyState } from './state.ts'

/** The ranges of one family as numbers, sorted and disjoint; undefined when the family has none: it is not restricted. */
export function rangesWithin(within: readonly AddressRange[], family: Family): readonly Range[] | undefined {
  const ranges = within.filter(each => each.first.family === family)
  return ranges.length === 0
    ? undefined
    : mergeRanges(ranges.map(({ first, last }) => ({ first: first.value, last: last.value })))
}

/** The first of the ranges that has addresses which the pool has not. */
export function outsidePool(pool: Pool, within: readonly AddressRange[]): AddressRange | undefined {
  return within.find(({ first, last }) => {
    // Merged: a range may go over the border of two prefixes that touch.
    const merged = mergeRanges(prefixesOf(pool, first.family).map(rangeOf))
    return !merged.some(range => range.first <= first.value && last.value <= range.last)
  })
}

/** The ranges with their families again, for messages. */
export function withFamily(ranges: readonly Range[], family: Family): readonly AddressRange[] {
  return ranges.map(({ first, last }) => ({ first: addressAt(family, first), last: addressAt(family, last) }))
}

/**
 * The lowest address of the block in the ranges that anybody may have and that was never leased. Runs that are used up are
 * stepped over once, not for each lease.
 */
export function neverLeasedWithin(
  block: BlockState,
  family: FamilyState,
  ranges: readonly Range[],
): bigint | undefined {
  // Below the cursor everything is used up.
  const open = { first: block.cursor, last: rangeOf(block.prefix).last }
  for (const range of ranges) {
    const part = intersect(range, open)
    const value = part && family.usedRuns.firstUnused(part, each => stepOver(block, family, each))
    if (value !== undefined) return value
  }
  return undefined
}

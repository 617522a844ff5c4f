import { addressAt, type Family } from '../../lib/net/address.ts'
import { containsPrefix, lastAddress, sizeOf, type Prefix } from '../../lib/net/prefix.ts'
import { blockLengthIn, prefixesOf, reservedIn, type Pool } from './pool.ts'
import { intersect, rangeOf, sizeOfRange, type Range } from './range.ts'

/** Which blocks nextBlock() may not find, and which it may: those that have addresses in the ranges of `within`, if there are any. */
export interface Carving {
  readonly family: Family
  readonly taken: readonly Prefix[]
  /** Sorted and disjoint. */
  readonly within?: readonly Range[] | undefined
}

/**
 * The first block of the pool that overlaps none of `taken` and has an address to lease; undefined when the pool is used up.
 * Costs O(n log n) in the number of blocks, once for each block.
 */
export function nextBlock(pool: Pool, { family, taken, within }: Carving): Prefix | undefined {
  const ranges = taken.filter(prefix => prefix.address.family === family).map(rangeOf)
  ranges.sort((a, b) => (a.first < b.first ? -1 : 1))
  for (const prefix of prefixesOf(pool, family)) {
    const whole = rangeOf(prefix)
    for (const part of within === undefined ? [whole] : within.map(range => intersect(range, whole))) {
      const block = part && nextBlockIn(pool, { prefix, part }, ranges)
      if (block !== undefined) return block
    }
  }
  return undefined
}

/** The blocks of `prefix` that have addresses in `part`. */
interface Searched {
  readonly prefix: Prefix
  readonly part: Range
}

function nextBlockIn(pool: Pool, { prefix, part }: Searched, taken: readonly Range[]): Prefix | undefined {
  const { last } = part
  const prefixLength = blockLengthIn(pool, prefix)
  const blockSize = sizeOf({ address: prefix.address, prefixLength })
  let index = 0
  for (let start = part.first - (part.first % blockSize); start <= last;) {
    const block: Prefix = { address: addressAt(prefix.address.family, start), prefixLength }
    while (index < taken.length && (taken[index]?.last ?? 0n) < start) index += 1
    const inTheWay = obstacle(pool, block, taken[index])
    if (inTheWay === undefined) return block
    start = alignUp(inTheWay + 1n, blockSize)
  }
  return undefined
}

/** The last address that rules the block out; undefined when nothing does. */
function obstacle(pool: Pool, block: Prefix, nextTaken: Range | undefined): bigint | undefined {
  const range = rangeOf(block)
  if (nextTaken !== undefined && nextTaken.first <= range.last) return nextTaken.last
  // An excluded prefix may hold very many blocks: step over it in one go.
  const excluded = pool.exclude.find(
    each => each.address.family === block.address.family && containsPrefix(each, block),
  )
  if (excluded !== undefined) return lastAddress(excluded).value
  const reserved = reservedIn(pool, block).reduce((sum, each) => sum + sizeOfRange(each), 0n)
  return reserved === sizeOf(block) ? range.last : undefined
}

function alignUp(value: bigint, size: bigint): bigint {
  return ((value + size - 1n) / size) * size
}

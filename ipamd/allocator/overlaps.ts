import { containsPrefix, type Prefix } from '../../lib/net/prefix.ts'
import { findOverlap, type ForeignRange, type Overlap } from './foreign-range.ts'
import type { State } from './state.ts'

export type PoolOverlap = Overlap & { readonly pool: string }

/**
 * The first prefix of a pool that overlaps another pool, a service range or what the node itself uses (checklist R30, R31).
 *
 * What was handed over is not held against the node's ranges: it was, before its block was taken, and only who hands it over
 * can change it. Between pools it is: the configuration may have changed since.
 */
export function findPoolOverlap(
  state: State,
  {
    serviceRanges,
    hostRanges,
  }: { readonly serviceRanges: readonly ForeignRange[]; readonly hostRanges: readonly ForeignRange[] },
): PoolOverlap | undefined {
  const earlier: ForeignRange[] = []
  for (const { pool } of state.pools.values()) {
    const isHandedOver = pool.blockSource?.type === 'kubernetes'
    const others = [...earlier, ...serviceRanges, ...(isHandedOver ? [] : hostRanges)]
    const overlap = findOverlap(pool.prefixes, others)
    if (overlap !== undefined) return { ...overlap, pool: pool.name }
    earlier.push(...pool.prefixes.map(prefix => ({ prefix, source: `pool "${pool.name}"` })))
  }
  return undefined
}

/** The ranges without those that lie in a block which the node has: a bridge may hold the gateway of a block of ours. */
export function outsideBlocks(
  ranges: readonly ForeignRange[],
  blocks: readonly { readonly prefix: Prefix }[],
): readonly ForeignRange[] {
  return ranges.filter(range => !blocks.some(block => containsPrefix(block.prefix, range.prefix)))
}

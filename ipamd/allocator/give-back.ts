import { containsAddress } from '../../lib/net/prefix.ts'
import type { LeaseEvent } from './events.ts'
import type { Reservation } from './reservation.ts'
import { hasRoom, type BlockState, type State } from './state.ts'

// Forgetting the freed addresses of a block looks at all that the pool has: some milliseconds each.
const MAX_AT_ONCE = 8

/**
 * Decides which blocks the node gives back: those without a lease, in which nothing cools down or is kept for an owner. Of
 * each family of a pool one block with a free address stays, so that the next lease does not take it right back. One with a
 * reserved address stays too: its owner could not have it when the node may take no other block. Changes nothing. A bounded
 * number at once.
 */
export function giveBack(state: State, nowUnixMs: number): readonly (LeaseEvent & { type: 'block-returned' })[] {
  const leaving: BlockState[] = state.blocks.filter(block => block.isDrained && isAtRest(block, nowUnixMs))
  for (const { blocks, reservations } of [...state.pools.values()].flatMap(pool => pool.families)) {
    const staying = blockToKeep(blocks)
    const isSpare = (block: BlockState): boolean => block !== staying && !hasReservation(block, reservations)
    leaving.push(...blocks.filter(block => isSpare(block) && isAtRest(block, nowUnixMs)))
  }
  return leaving
    .slice(0, MAX_AT_ONCE)
    .map(({ pool, prefix }) => ({ type: 'block-returned', pool, prefix, atUnixMs: nowUnixMs }))
}

/** The fullest block that has a free address. There is none only when no block is empty, so that none can go anyway. */
function blockToKeep(blocks: readonly BlockState[]): BlockState | undefined {
  return blocks
    .filter(hasRoom)
    .reduce<BlockState | undefined>(
      (best, block) => (best && best.leasedCount >= block.leasedCount ? best : block),
      undefined,
    )
}

function hasReservation({ prefix }: BlockState, reservations: ReadonlyMap<bigint, Reservation>): boolean {
  return reservations.values().some(({ address }) => containsAddress(prefix, address))
}

/** True when nothing of the block is leased, cools down or is kept for an owner. */
export function isAtRest({ leasedCount, restsAtUnixMs }: BlockState, nowUnixMs: number): boolean {
  return leasedCount === 0 && restsAtUnixMs <= nowUnixMs
}

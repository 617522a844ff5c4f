import type { PodCidrsReply, PodCidrsRequest } from '../../lib/ipam/pod-cidrs.ts'
import { equalPrefixes, overlaps, type Prefix } from '../../lib/net/prefix.ts'
import type { LeaseEvent, PodCidrsHandedOver } from './events.ts'
import { findOverlap, type ForeignRange, type Overlap } from './foreign-range.ts'
import { isAtRest } from './give-back.ts'
import type { BlockState, PoolState, State } from './state.ts'

export type HandOver =
  | { readonly kind: 'handed-over'; readonly changes: readonly (LeaseEvent | PodCidrsHandedOver)[] }
  | Overlap
  | NotHandedOver

/** The configuration has no pool whose blocks are handed over, or the one that has this name is none. */
export interface NotHandedOver {
  readonly kind: 'not-handed-over'
  readonly pool: string | undefined
}

/**
 * Decides the pod CIDRs of a pool: new leases come from these blocks only, and every other block of the pool drains. Changes
 * nothing; when there are changes they must be stored together, and the state must be restored from the store.
 *
 * A block of the pool that is in the way goes at once when nothing of it is leased, cools down or is kept; else it overlaps.
 */
export function handOver(state: State, { podCidrs, pool: poolName }: PodCidrsRequest, nowUnixMs: number): HandOver {
  const pool = findHandedOver(state, poolName)
  if (pool === undefined) return { kind: 'not-handed-over', pool: poolName }
  const { name, prefixes } = pool.pool
  const inTheWay = state.blocks.filter(block =>
    podCidrs.some(each => overlaps(each, block.prefix) && !(block.pool === name && equalPrefixes(each, block.prefix))),
  )
  const leaving = inTheWay.filter(block => block.pool === name && isAtRest(block, nowUnixMs))
  const staying = inTheWay.filter(block => !leaving.includes(block)).map(rangeOfBlock)
  const taken = podCidrs.filter(each => !state.blocks.some(block => equalPrefixes(block.prefix, each)))
  const overlap =
    findOverlap(podCidrs, [...staying, ...rangesOfOtherPools(state, name)]) ?? findOverlap(taken, state.foreign)
  if (overlap !== undefined) return overlap
  if (taken.length === 0 && isSame(podCidrs, prefixes)) return { kind: 'handed-over', changes: [] }
  return {
    kind: 'handed-over',
    changes: [
      ...leaving.map(({ prefix }) => ({ type: 'block-returned' as const, pool: name, prefix, atUnixMs: nowUnixMs })),
      { type: 'pod-cidrs-handed-over', pool: name, podCidrs },
      ...taken.map(prefix => ({ type: 'block-taken' as const, pool: name, prefix, atUnixMs: nowUnixMs })),
    ],
  }
}

/** What new leases of the pool come from, and what drains. */
export function reportPodCidrs(state: State, poolName: string | undefined): PodCidrsReply | NotHandedOver {
  const pool = findHandedOver(state, poolName)
  if (pool === undefined) return { kind: 'not-handed-over', pool: poolName }
  const { name, prefixes } = pool.pool
  const draining = state.blocks.filter(block => block.pool === name && block.isDrained).map(({ prefix }) => prefix)
  return { pool: name, podCidrs: prefixes, draining }
}

function findHandedOver(state: State, name: string | undefined): PoolState | undefined {
  return [...state.pools.values()].find(
    ({ pool }) => pool.blockSource?.type === 'kubernetes' && (name === undefined || pool.name === name),
  )
}

function rangeOfBlock({ pool, prefix, leasedCount }: BlockState): ForeignRange {
  const use =
    leasedCount === 0 ? 'whose addresses cool down or are kept for their owners' : `with ${leasedCount} leased`
  return { prefix, source: `a block of pool "${pool}" ${use}` }
}

function rangesOfOtherPools(state: State, name: string): readonly ForeignRange[] {
  return [...state.pools.values()]
    .filter(({ pool }) => pool.name !== name)
    .flatMap(({ pool }) => pool.prefixes.map(prefix => ({ prefix, source: `pool "${pool.name}"` })))
}

function isSame(a: readonly Prefix[], b: readonly Prefix[]): boolean {
  return a.length === b.length && a.every(each => b.some(other => equalPrefixes(each, other)))
}

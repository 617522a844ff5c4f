import type { GrantRequest } from '../../lib/ipam/grants.ts'
import type { Family } from '../../lib/net/address.ts'
import { containsPrefix, formatPrefix, overlaps, type Prefix } from '../../lib/net/prefix.ts'
import { nextBlock } from './carve.ts'
import type { LeaseEvent } from './events.ts'
import { findOverlap, type ForeignRange, type Overlap } from './foreign-range.ts'
import type { Pool } from './pool.ts'
import type { BlockState, Grantee, State } from './state.ts'

export type Granting =
  | {
      readonly kind: 'granted'
      readonly pool: string
      readonly blocks: readonly Prefix[]
      readonly events: readonly LeaseEvent[]
    }
  | { readonly kind: 'unknown-pool'; readonly pool: string; readonly known: readonly string[] }
  /** Nothing was changed: a later request of the node was answered already. */
  | { readonly kind: 'late-request'; readonly node: string; readonly sequence: number }
  /** Two daemons have one name. */
  | { readonly kind: 'other-instance'; readonly grantee: Grantee; readonly blocks: number }
  | { readonly kind: 'no-block'; readonly pool: string; readonly family: Family }
  | Overlap

/**
 * Decides which blocks another node has of a pool: those that it holds, and a new one of each family that it wants. Changes
 * nothing.
 *
 * A block that the node was granted and does not hold comes first when it wants one: the answer was lost. A block that it holds
 * and was not granted, as far as is known here, is its own unless somebody else has it: this daemon may have lost its store.
 */
export function grant(state: State, request: GrantRequest, nowUnixMs: number): Granting {
  const { node, instance, sequence, holds } = request
  const pool = request.pool === undefined ? state.pools.values().next().value : state.pools.get(request.pool)
  // Pod CIDRs, and blocks that come from an upstream, are this node's own.
  if (pool === undefined || (pool.pool.blockSource?.type ?? 'local') !== 'local') {
    return { kind: 'unknown-pool', pool: request.pool ?? '', known: [...state.pools.keys()] }
  }
  const granted = state.blocks.filter(block => block.node === node)
  const known = state.grantees.get(node)
  if (known !== undefined && known.instance !== instance && granted.length > 0) {
    return { kind: 'other-instance', grantee: known, blocks: granted.length }
  }
  if (known?.instance === instance && sequence <= known.sequence) {
    return { kind: 'late-request', node, sequence: known.sequence }
  }
  const ofPool = granted.filter(block => block.pool === pool.pool.name)
  const isHeld = membershipIn(holds)
  const isGranted = membershipIn(ofPool.map(({ prefix }) => prefix))
  const left = ofPool.filter(({ prefix }) => !isHeld(prefix))
  const adopted = holds.filter(each => !isGranted(each))
  const leaving = new Set(left)
  const others = state.blocks.filter(block => !leaving.has(block))
  const stranger = adopted.find(each => !pool.pool.prefixes.some(prefix => containsPrefix(prefix, each)))
  if (stranger !== undefined) return outside(stranger, pool.pool)
  const conflict =
    findOverlap(adopted, [...others.map(rangeOfBlock), ...state.foreign]) ?? findOverlapWithin(adopted, node)
  if (conflict !== undefined) return conflict
  const taken: Prefix[] = []
  const again: BlockState[] = []
  for (const family of request.wants) {
    const lost = left.find(
      ({ prefix }) => prefix.address.family === family && !adopted.some(each => overlaps(each, prefix)),
    )
    const inUse = [...others.map(({ prefix }) => prefix), ...adopted]
    const block = lost?.prefix ?? nextBlock(pool.pool, { family, taken: inUse })
    if (block === undefined) return { kind: 'no-block', pool: pool.pool.name, family }
    const overlap = findOverlap([block], state.foreign)
    if (overlap !== undefined) return overlap
    if (lost === undefined) taken.push(block)
    else again.push(lost)
  }
  const at = { pool: pool.pool.name, node, atUnixMs: nowUnixMs }
  const events: readonly LeaseEvent[] = [
    ...left
      .filter(block => !again.includes(block))
      .map(({ prefix }) => ({ type: 'block-returned' as const, prefix, ...at })),
    ...[...adopted, ...taken].map(prefix => ({ type: 'block-taken' as const, prefix, ...at })),
    { type: 'grantee-seen', grantee: { node, instance, sequence } },
  ]
  return { kind: 'granted', pool: pool.pool.name, blocks: [...again.map(({ prefix }) => prefix), ...taken], events }
}

/** A node may hold thousands: each is looked up once. */
function membershipIn(prefixes: readonly Prefix[]): (prefix: Prefix) => boolean {
  const texts = new Set(prefixes.map(formatPrefix))
  return prefix => texts.has(formatPrefix(prefix))
}

/** Two blocks of one request that overlap. Of prefixes in order, one lies in the one before it or in none. */
function findOverlapWithin(holds: readonly Prefix[], node: string): Overlap | undefined {
  const sorted = holds.toSorted(inOrder)
  for (const [index, prefix] of sorted.entries()) {
    const before = sorted[index - 1]
    const overlap = before && findOverlap([prefix], [{ prefix: before, source: `another one that node "${node}" has` }])
    if (overlap !== undefined) return overlap
  }
  return undefined
}

function inOrder(a: Prefix, b: Prefix): number {
  if (a.address.family !== b.address.family) return a.address.family - b.address.family
  if (a.address.value !== b.address.value) return a.address.value < b.address.value ? -1 : 1
  return a.prefixLength - b.prefixLength
}

/** Decides the end of everything that a node was granted: it is gone, or a person says so. Changes nothing. */
export function endGrants(
  state: State,
  node: string,
  nowUnixMs: number,
): readonly (LeaseEvent & { type: 'block-returned' })[] {
  return state.blocks
    .filter(block => block.node === node)
    .map(({ pool, prefix }) => ({ type: 'block-returned', pool, prefix, node, atUnixMs: nowUnixMs }))
}

function outside(wanted: Prefix, pool: Pool): Overlap {
  const [first = wanted] = pool.prefixes.filter(each => overlaps(each, wanted))
  return { kind: 'overlaps', wanted, other: { prefix: first, source: `not within pool "${pool.name}"` } }
}

function rangeOfBlock({ prefix, pool, node }: BlockState): ForeignRange {
  return { prefix, source: `a block of pool "${pool}" that ${node === undefined ? 'this node' : `node "${node}"`} has` }
}

import type { Lease, LeasedAddress } from '../../lib/ipam/lease.ts'
import type { AllocateRequest } from '../../lib/ipam/protocol.ts'
import type { AddressRange } from '../../lib/net/address-range.ts'
import { addressAt, equalAddresses, type Address, type Family } from '../../lib/net/address.ts'
import { containsAddress } from '../../lib/net/prefix.ts'
import { nextBlock } from './carve.ts'
import { isAtBlockLimit, type Demand, type FreeAddress } from './demand.ts'
import type { LeaseEvent } from './events.ts'
import { findOverlap, type Overlap } from './foreign-range.ts'
import { findExact, type AddressRefused } from './exact.ts'
import { capacityOf, gatewayOf, type Pool } from './pool.ts'
import { isWithin, type Range } from './range.ts'
import { freshBlock, neverLeased, type BlockState, type FamilyState, type PoolState, type State } from './state.ts'
import { neverLeasedWithin, outsidePool, rangesWithin, withFamily } from './within.ts'

export type Allocation =
  | { readonly kind: 'leased'; readonly lease: Lease; readonly events: readonly LeaseEvent[] }
  /** The same attachment asks again: same answer, whatever pool it names now. */
  | { readonly kind: 'already-leased'; readonly lease: Lease }
  | Refusal

/** Why nothing can be leased. */
export type Refusal =
  | { readonly kind: 'unknown-pool'; readonly pool: string; readonly known: readonly string[] }
  /** The attachment has a lease, without an address that it asks for now, or with one outside the ranges that it names now. */
  | { readonly kind: 'other-lease'; readonly lease: Lease; readonly wanted: Address | readonly AddressRange[] }
  /** The pool does not have all of the range. */
  | { readonly kind: 'range-refused'; readonly range: AddressRange; readonly pool: Pool }
  | PoolExhausted
  | AddressRefused
  /** The next block overlaps what is not ours. */
  | Overlap
  | NeedsBlock
  /** Nobody has said yet which ranges the pool has. */
  | { readonly kind: 'not-available-yet'; readonly pool: string }

/** No block of the node has an address, and the upstream has to be asked for another block. */
export interface NeedsBlock {
  readonly kind: 'needs-block'
  readonly pool: Pool
  readonly family: Family
}

/** One family of the pool has no address, so nothing is leased. Counts are of addresses of that family. */
export interface PoolExhausted {
  readonly kind: 'pool-exhausted'
  readonly pool: string
  readonly family: Family
  readonly leased: number
  /** Released too short a time ago. */
  readonly cooling: number
  /** Held by nobody, and only for the owner of their reservation. */
  readonly reserved: number
  readonly capacity: bigint
  /** When the first cooling address may be leased again. */
  readonly nextFreeAtUnixMs: number | undefined
  /** The pool's maxBlocks, when the node has as many: more addresses may be left in the pool. */
  readonly blockLimit: number | undefined
  /** The ranges that the request names. The counts are of the whole pool. */
  readonly within: readonly AddressRange[] | undefined
}

/** A request, with what its caller knows. */
export type AskedFor = AllocateRequest & {
  /** True when the upstream has no block for this node. */
  readonly upstreamIsExhausted?: boolean | undefined
}

/**
 * Decides the lease of an attachment: one address of each family of the pool, or none. Changes nothing.
 *
 * What the request names comes first, then what is reserved for its owner, then what is kept for its owner. Anybody gets, in
 * this order: an address that was never leased; the least recently freed one whose cooldown is over; one of a new block; one
 * that is kept for another owner; and, when the pool says so, the least recently freed one though it cools down. Where the
 * request names ranges of a family, all of this holds for the addresses in them.
 */
export function allocate(state: State, request: AskedFor, nowUnixMs: number): Allocation {
  const held = state.leases.get(request.attachment)
  if (held !== undefined) return answerAgain(held, request)
  const pool = findPool(state, request.pool)
  if ('kind' in pool) return pool
  const { owner, upstreamIsExhausted } = request
  const demand = { pool, owner, upstreamIsExhausted, nowUnixMs }
  const outside = request.addresses?.find(({ family }) => !pool.families.some(each => each.family === family))
  if (outside !== undefined) return { kind: 'address-refused', address: outside, why: 'outside', pool: pool.pool }
  const strange = request.within && outsidePool(pool.pool, request.within)
  if (strange !== undefined) return { kind: 'range-refused', range: strange, pool: pool.pool }
  const events: LeaseEvent[] = []
  const addresses: LeasedAddress[] = []
  for (const family of pool.families) {
    const wish = { ...demand, family, within: request.within && rangesWithin(request.within, family.family) }
    const named = request.addresses?.find(each => each.family === family.family)
    const free =
      named === undefined
        ? (ownAddress(state, wish) ?? nextFree(state, wish))
        : findExact(state, { ...wish, address: named })
    if (free === undefined) return exhausted(wish)
    if ('kind' in free) return free
    const overlap = overlapOf(state, free)
    if (overlap !== undefined) return overlap
    const leased = leasedAddress(free)
    if (free.takes) events.push({ type: 'block-taken', pool: pool.pool.name, prefix: free.block, atUnixMs: nowUnixMs })
    addresses.push(leased)
  }
  const lease: Lease = {
    attachment: request.attachment,
    pool: pool.pool.name,
    // A list that grew by push() has room for sixteen more, and leases are many.
    addresses: [...addresses],
    leasedAtUnixMs: nowUnixMs,
    ...(request.owner === undefined ? {} : { owner: request.owner }),
    ...(request.stickySeconds === undefined ? {} : { stickySeconds: request.stickySeconds }),
  }
  return { kind: 'leased', lease, events: [...events, { type: 'leased', lease, pod: request.pod, via: request.via }] }
}

function answerAgain(lease: Lease, { addresses = [], within = [] }: AllocateRequest): Allocation {
  const missing = addresses.find(each => !lease.addresses.some(({ address }) => equalAddresses(address, each)))
  if (missing !== undefined) return { kind: 'other-lease', lease, wanted: missing }
  const isOutside = lease.addresses.some(
    ({ address }) => !isWithin(rangesWithin(within, address.family), address.value),
  )
  return isOutside ? { kind: 'other-lease', lease, wanted: within } : { kind: 'already-leased', lease }
}

/** Why a new attachment could not get a lease now; undefined when it could. Changes nothing. */
export function refusalOf(
  state: State,
  { pool: poolName, upstreamIsExhausted }: Pick<AskedFor, 'pool' | 'upstreamIsExhausted'>,
  nowUnixMs: number,
): Refusal | undefined {
  const pool = findPool(state, poolName)
  if ('kind' in pool) return pool
  for (const family of pool.families) {
    const free = nextFree(state, { pool, family, upstreamIsExhausted, nowUnixMs })
    if (free === undefined) return exhausted({ pool, family, nowUnixMs })
    if ('kind' in free) return free
    const overlap = overlapOf(state, free)
    if (overlap !== undefined) return overlap
  }
  return undefined
}

/** True when the next address of the family would have to come from a block that the node does not have yet. */
export function needsBlock(
  state: State,
  { pool: poolName, family }: { readonly pool: string; readonly family: Family },
  nowUnixMs: number,
): boolean {
  const pool = state.pools.get(poolName)
  const found = pool?.families.find(each => each.family === family)
  if (pool === undefined || found === undefined) return false
  const free = nextFree(state, { pool, family: found, nowUnixMs })
  return free !== undefined && 'kind' in free
}

/** What the address's block overlaps, when the node would have to take it. */
function overlapOf(state: State, { block, takes }: FreeAddress): Overlap | undefined {
  return takes ? findOverlap([block], state.foreign) : undefined
}

function findPool(state: State, name: string | undefined): PoolState | Refusal {
  const pool = name === undefined ? state.pools.values().next().value : state.pools.get(name)
  if (pool === undefined) return { kind: 'unknown-pool', pool: name ?? '', known: [...state.pools.keys()] }
  return pool.families.length === 0 ? { kind: 'not-available-yet', pool: pool.pool.name } : pool
}

/** What is reserved or kept for the owner. When it can not be had now, the owner gets any other address. */
function ownAddress(state: State, demand: Demand): FreeAddress | undefined {
  const { pool, family, owner, nowUnixMs, within } = demand
  if (owner === undefined) return undefined
  for (const { address } of state.reservationsOf.get(owner) ?? []) {
    if (!pool.pool.prefixes.some(prefix => containsAddress(prefix, address)) || address.family !== family.family)
      continue
    const free = findExact(state, { ...demand, address })
    if (!('kind' in free)) return free
  }
  const kept = family.freed.keptFor(owner, nowUnixMs, within)
  return kept && { address: addressAt(family.family, kept.value), block: kept.block, takes: false }
}

function nextFree(state: State, demand: Demand): FreeAddress | NeedsBlock | undefined {
  const { pool, family, nowUnixMs, within } = demand
  const never = firstNeverLeased(demand)
  if (never !== undefined) return { ...never, takes: false }
  const freed =
    family.freed.available(nowUnixMs, within) ??
    firstOfNewBlock(state, demand) ??
    family.freed.keptButCool(nowUnixMs, within) ??
    (pool.pool.whenOnlyCooling === 'takeOldest' ? family.freed.oldest(within) : undefined)
  if (freed === undefined || 'takes' in freed || 'kind' in freed) return freed
  return { address: addressAt(family.family, freed.value), block: freed.block, takes: false }
}

/** An address of the node's blocks that was never leased. Without ranges, the first block that has one is known. */
function firstNeverLeased({ family, within }: Demand): Omit<FreeAddress, 'takes'> | undefined {
  for (let index = family.firstOpen; ; index += 1) {
    const block = family.blocks[index]
    const first = block && firstOf(block, family, within)
    if (first !== undefined || block === undefined || within === undefined) return first
  }
}

function firstOfNewBlock(
  state: State,
  { pool, family, within, upstreamIsExhausted }: Demand,
): FreeAddress | NeedsBlock | undefined {
  if (isAtBlockLimit(pool, family)) return undefined
  if (pool.pool.blockSource?.type === 'socket') {
    // The upstream grants any block: asking until one has an address of the ranges would take the whole pool.
    if (upstreamIsExhausted === true || within !== undefined) return undefined
    return { kind: 'needs-block', pool: pool.pool, family: family.family }
  }
  const taken = state.blocks.map(block => block.prefix)
  for (;;) {
    const prefix = nextBlock(pool.pool, { family: family.family, taken, within })
    if (prefix === undefined) return undefined
    const first = firstOf(freshBlock(pool.pool, prefix), family, within)
    if (first !== undefined) return { ...first, takes: true }
    // Reserved for owners as a whole: they take it themselves.
    taken.push(prefix)
  }
}

function firstOf(
  block: BlockState,
  family: FamilyState,
  within: readonly Range[] | undefined,
): Omit<FreeAddress, 'takes'> | undefined {
  const value = within === undefined ? neverLeased(block, family) : neverLeasedWithin(block, family, within)
  return value === undefined ? undefined : { address: addressAt(family.family, value), block: block.prefix }
}

function leasedAddress({ address, block }: FreeAddress): LeasedAddress {
  const gateway = gatewayOf(block)
  return { address, block, ...(gateway === undefined ? {} : { gateway }) }
}

function exhausted({ pool, family, nowUnixMs, within }: Demand): PoolExhausted {
  const inPool = (value: bigint): boolean =>
    pool.pool.prefixes.some(prefix => containsAddress(prefix, { family: family.family, value }))
  const reserved = [...family.reservations.keys()].filter(value => inPool(value) && !family.leased.has(value))
  return {
    kind: 'pool-exhausted',
    pool: pool.pool.name,
    family: family.family,
    leased: family.leased.size,
    cooling: family.freed.countCooling(nowUnixMs),
    reserved: reserved.length,
    capacity: capacityOf(pool.pool, family.family),
    nextFreeAtUnixMs: family.freed.nextFreeAtUnixMs(within),
    blockLimit: isAtBlockLimit(pool, family) ? pool.pool.maxBlocks : undefined,
    within: within && withFamily(within, family.family),
  }
}

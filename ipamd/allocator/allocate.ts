import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import type { Lease, LeasedAddress } from '../../lib/ipam/lease.ts'
import type { AllocateRequest } from '../../lib/ipam/protocol.ts'
import { addressAt, type Family } from '../../lib/net/address.ts'
import type { Prefix } from '../../lib/net/prefix.ts'
import { nextBlock } from './carve.ts'
import type { LeaseEvent } from './events.ts'
import { capacityOf, gatewayOf } from './pool.ts'
import { freshBlock, neverLeased, type BlockState, type FamilyState, type PoolState, type State } from './state.ts'

export type Allocation =
  | { readonly kind: 'leased'; readonly lease: Lease; readonly events: readonly LeaseEvent[] }
  /** The same attachment asks again: same answer, whatever pool it names now. */
  | { readonly kind: 'already-leased'; readonly lease: Lease }
  | Refusal

/** Why nothing can be leased. */
export type Refusal =
  { readonly kind: 'unknown-pool'; readonly pool: string; readonly known: readonly string[] } | PoolExhausted

/** One family of the pool has no address, so nothing is leased. Counts are of addresses of that family. */
export interface PoolExhausted {
  readonly kind: 'pool-exhausted'
  readonly pool: string
  readonly family: Family
  readonly leased: number
  /** Released too short a time ago. */
  readonly cooling: number
  readonly capacity: bigint
  /** When the first cooling address may be leased again. */
  readonly nextFreeAtUnixMs: number | undefined
}

/**
 * Decides the lease of an attachment: one address of each family of the pool, or none. Addresses that were never leased go
 * first, then the least recently freed whose cooldown is over, then those of a new block. Changes nothing.
 */
export function allocate(state: State, request: AllocateRequest, nowUnixMs: number): Allocation {
  const held = state.leases.get(attachmentKeyText(request.attachment))
  if (held !== undefined) return { kind: 'already-leased', lease: held }
  const pool = findPool(state, request.pool)
  if ('kind' in pool) return pool
  const events: LeaseEvent[] = []
  const addresses: LeasedAddress[] = []
  for (const family of pool.families) {
    const free = nextFree(state, { pool, family, nowUnixMs })
    if (free === undefined) return exhausted(pool, family, nowUnixMs)
    if (free.takes)
      events.push({ type: 'block-taken', pool: pool.pool.name, prefix: free.leased.block, atUnixMs: nowUnixMs })
    addresses.push(free.leased)
  }
  const lease: Lease = { attachment: request.attachment, pool: pool.pool.name, addresses, leasedAtUnixMs: nowUnixMs }
  return { kind: 'leased', lease, events: [...events, { type: 'leased', lease, pod: request.pod }] }
}

/** Why a new attachment could not get a lease now; undefined when it could. Changes nothing. */
export function refusalOf(state: State, poolName: string | undefined, nowUnixMs: number): Refusal | undefined {
  const pool = findPool(state, poolName)
  if ('kind' in pool) return pool
  const lacking = pool.families.find(family => nextFree(state, { pool, family, nowUnixMs }) === undefined)
  return lacking === undefined ? undefined : exhausted(pool, lacking, nowUnixMs)
}

function findPool(state: State, name: string | undefined): PoolState | Refusal {
  const pool = name === undefined ? state.pools.values().next().value : state.pools.get(name)
  return pool ?? { kind: 'unknown-pool', pool: name ?? '', known: [...state.pools.keys()] }
}

interface FreeAddress {
  readonly leased: LeasedAddress
  /** True when the node must take the block first. */
  readonly takes: boolean
}

interface Demand {
  readonly pool: PoolState
  readonly family: FamilyState
  readonly nowUnixMs: number
}

function nextFree(state: State, { pool, family, nowUnixMs }: Demand): FreeAddress | undefined {
  const open = family.blocks[family.firstOpen]
  const never = open === undefined ? undefined : firstOf(open, family)
  if (never !== undefined) return { leased: never, takes: false }
  const oldest = family.freed.oldest()
  if (oldest !== undefined && oldest.freedAtUnixMs + pool.pool.cooldownMs <= nowUnixMs) {
    return { leased: leasedAddress(family.family, oldest.value, oldest.block), takes: false }
  }
  const prefix = nextBlock(
    pool.pool,
    family.family,
    state.blocks.map(block => block.prefix),
  )
  const fresh = prefix === undefined ? undefined : firstOf(freshBlock(pool.pool, prefix), family)
  return fresh === undefined ? undefined : { leased: fresh, takes: true }
}

function firstOf(block: BlockState, family: FamilyState): LeasedAddress | undefined {
  const value = neverLeased(block, family)
  return value === undefined ? undefined : leasedAddress(family.family, value, block.prefix)
}

function leasedAddress(family: Family, value: bigint, block: Prefix): LeasedAddress {
  const gateway = gatewayOf(block)
  return { address: addressAt(family, value), block, ...(gateway === undefined ? {} : { gateway }) }
}

function exhausted({ pool }: PoolState, family: FamilyState, nowUnixMs: number): PoolExhausted {
  const oldest = family.freed.oldest()
  return {
    kind: 'pool-exhausted',
    pool: pool.name,
    family: family.family,
    leased: family.leased.size,
    cooling: family.freed.countFreedAfter(nowUnixMs - pool.cooldownMs),
    capacity: capacityOf(pool, family.family),
    nextFreeAtUnixMs: oldest === undefined ? undefined : oldest.freedAtUnixMs + pool.cooldownMs,
  }
}

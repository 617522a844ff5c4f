import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import type { Lease, LeasedAddress } from '../../lib/ipam/lease.ts'
import type { Address, Family } from '../../lib/net/address.ts'
import { lastAddress, type Prefix } from '../../lib/net/prefix.ts'
import type { LeaseEvent } from './events.ts'
import { FreedQueue } from './freed-queue.ts'
import { familiesOf, hasBlock, reservedIn, type Pool } from './pool.ts'
import type { Range } from './range.ts'

/** A block that leases come from. */
export interface BlockState {
  readonly prefix: Prefix
  /** Sorted and disjoint. */
  readonly reserved: readonly Range[]
  /** Every address of the block below this one is reserved, or was leased at some time. */
  cursor: bigint
}

/** One family of a pool. */
export interface FamilyState {
  readonly family: Family
  /** In the order in which they were taken. */
  readonly blocks: BlockState[]
  readonly blockByFirst: Map<bigint, BlockState>
  /** Every block before this index has only addresses that are reserved or were leased at some time. */
  firstOpen: number
  readonly leased: Set<bigint>
  readonly freed: FreedQueue
}

export interface PoolState {
  readonly pool: Pool
  readonly families: readonly FamilyState[]
  leaseCount: number
}

/** A block of this node, and the pool that it was carved from. */
export interface TakenBlock {
  readonly pool: string
  readonly prefix: Prefix
}

/**
 * What the allocator knows. Only evolve() and followClock() change it, in place: copying it for each decision would make a
 * lease cost more the more leases there are. Whoever applies an event and then fails to store it must restore the state from
 * the store.
 */
export interface State {
  /** In the order of the configuration. */
  readonly pools: ReadonlyMap<string, PoolState>
  /** By attachmentKeyText(). */
  readonly leases: Map<string, Lease>
  /** Every block of the node, also those of pools that are configured no more: nobody may take what overlaps them. */
  readonly blocks: TakenBlock[]
}

export function emptyState(pools: readonly Pool[]): State {
  const states = pools.map((pool): [string, PoolState] => [
    pool.name,
    { pool, families: familiesOf(pool).map(emptyFamily), leaseCount: 0 },
  ])
  return { pools: new Map(states), leases: new Map(), blocks: [] }
}

function emptyFamily(family: Family): FamilyState {
  return { family, blocks: [], blockByFirst: new Map(), firstOpen: 0, leased: new Set(), freed: new FreedQueue() }
}

/** What the store holds. */
export interface Snapshot {
  readonly blocks: readonly TakenBlock[]
  readonly leases: readonly Lease[]
  /** Least recently freed first. */
  readonly freed: readonly { readonly address: Address; readonly block: TakenBlock; readonly freedAtUnixMs: number }[]
}

/** The state that the store describes, under the pools that are configured now. */
export function restoreState(pools: readonly Pool[], snapshot: Snapshot, nowUnixMs: number): State {
  const state = emptyState(pools)
  for (const block of snapshot.blocks) takeBlock(state, block)
  for (const { address, block, freedAtUnixMs } of snapshot.freed) {
    // A clock that was set back must not keep an address out for longer than the cooldown.
    free(state, block.pool, { address, block: block.prefix }, Math.min(freedAtUnixMs, nowUnixMs))
  }
  for (const lease of snapshot.leases) addLease(state, lease)
  for (const family of [...state.pools.values()].flatMap(pool => pool.families)) {
    for (const block of family.blocks) settle(family, block)
  }
  return state
}

/** Applies one event. The state afterwards is the one in which the event has happened. */
export function evolve(state: State, event: LeaseEvent): void {
  switch (event.type) {
    case 'block-taken':
      return takeBlock(state, event)
    case 'leased':
      return addLease(state, event.lease)
    case 'released':
      return removeLease(state, event.lease, event.atUnixMs)
  }
}

/** Keeps what is left of every cooldown when the wall clock was set by `stepMs`, forward or back. */
export function followClock(state: State, stepMs: number): void {
  for (const { freed } of [...state.pools.values()].flatMap(pool => pool.families)) freed.shift(stepMs)
}

export function familyOf(state: State, poolName: string, family: Family): FamilyState | undefined {
  return state.pools.get(poolName)?.families.find(each => each.family === family)
}

/** A block as it is when nothing of it was ever leased. */
export function freshBlock(pool: Pool, prefix: Prefix): BlockState {
  return { prefix, reserved: reservedIn(pool, prefix), cursor: prefix.address.value }
}

/** The lowest address of the block that is not reserved and was never leased; undefined when there is none. */
export function neverLeased(block: BlockState, family: FamilyState): bigint | undefined {
  const last = lastAddress(block.prefix).value
  let value = block.cursor
  while (value <= last) {
    const at = value
    const reserved = block.reserved.find(range => range.first <= at && at <= range.last)
    if (reserved !== undefined) value = reserved.last + 1n
    else if (family.leased.has(value) || family.freed.has(value)) value += 1n
    else return value
  }
  return undefined
}

function takeBlock(state: State, { pool: poolName, prefix }: TakenBlock): void {
  state.blocks.push({ pool: poolName, prefix })
  const pool = state.pools.get(poolName)?.pool
  const family = familyOf(state, poolName, prefix.address.family)
  // Left from an older configuration: its leases live on, and nothing new comes from it.
  if (pool === undefined || family === undefined || !hasBlock(pool, prefix)) return
  const block = freshBlock(pool, prefix)
  family.blocks.push(block)
  family.blockByFirst.set(prefix.address.value, block)
  settle(family, block)
}

function addLease(state: State, lease: Lease): void {
  state.leases.set(attachmentKeyText(lease.attachment), lease)
  const pool = state.pools.get(lease.pool)
  if (pool === undefined) return
  pool.leaseCount += 1
  for (const leased of lease.addresses) {
    const family = familyOf(state, lease.pool, leased.address.family)
    const block = family?.blockByFirst.get(leased.block.address.value)
    if (family !== undefined && block !== undefined) useAddress(family, block, leased.address.value)
  }
}

function useAddress(family: FamilyState, block: BlockState, value: bigint): void {
  family.freed.delete(value)
  family.leased.add(value)
  settle(family, block)
}

/** Moves the marks past what is used up. They only move forward, so each address is stepped over once. */
function settle(family: FamilyState, block: BlockState): void {
  block.cursor = neverLeased(block, family) ?? lastAddress(block.prefix).value + 1n
  for (;;) {
    const open = family.blocks[family.firstOpen]
    if (open === undefined || open.cursor <= lastAddress(open.prefix).value) return
    family.firstOpen += 1
  }
}

function removeLease(state: State, lease: Lease, atUnixMs: number): void {
  state.leases.delete(attachmentKeyText(lease.attachment))
  const pool = state.pools.get(lease.pool)
  if (pool !== undefined) pool.leaseCount -= 1
  for (const leased of lease.addresses) free(state, lease.pool, leased, atUnixMs)
}

function free(state: State, poolName: string, { address, block }: LeasedAddress, freedAtUnixMs: number): void {
  const family = familyOf(state, poolName, address.family)
  const known = family?.blockByFirst.get(block.address.value)
  if (family === undefined || known === undefined) return
  family.leased.delete(address.value)
  // The pool may exclude by now what it leased before.
  if (known.reserved.some(range => range.first <= address.value && address.value <= range.last)) return
  family.freed.push({ value: address.value, block, freedAtUnixMs })
}

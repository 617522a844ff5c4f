import type { Lease, LeasedAddress } from '../../lib/ipam/lease.ts'
import type { Address, Family } from '../../lib/net/address.ts'
import { lastAddress, sizeOf, type Prefix } from '../../lib/net/prefix.ts'
import { AddressSet } from './address-set.ts'
import type { LeaseEvent } from './events.ts'
import { FreedAddresses } from './freed-addresses.ts'
import type { ForeignRange } from './foreign-range.ts'
import { LeaseTable, NO_LEASES, type LeaseSource } from './lease-table.ts'
import { withPodCidrs } from './pod-cidr.ts'
import { familiesOf, hasBlock, reservedIn, type Pool } from './pool.ts'
import { sizeOfRange, type Range } from './range.ts'
import type { Reservation } from './reservation.ts'
import type { Snapshot } from './snapshot.ts'
import { UsedRuns } from './used-runs.ts'

/** A block, and the pool that it was carved from. */
export interface TakenBlock {
  readonly pool: string
  readonly prefix: Prefix
  /** The other node that it was granted to; absent: it is this one's. */
  readonly node?: string | undefined
}

/** A node that gets its blocks from here. */
export interface Grantee {
  readonly node: string
  /** Tells two daemons apart that were given one name by mistake. */
  readonly instance: string
  /** Of its last request. */
  readonly sequence: number
}

/** A block as the allocator sees it. */
export interface BlockState extends TakenBlock {
  /** Left from an older configuration: its leases live on, nothing new comes from it, and it goes when it is empty. */
  readonly isDrained: boolean
  /** Addresses that its pool never leases, sorted and disjoint. */
  readonly reserved: readonly Range[]
  /** Every address of the block below this one is in `reserved`, is set aside for an owner, or was leased at some time. */
  cursor: bigint
  leasedCount: number
  /** When nothing of the block cools down or is kept for an owner any more. */
  restsAtUnixMs: number
}

/** One family of a pool. */
export interface FamilyState {
  readonly family: Family
  /** Those that new leases come from, in the order in which they were taken. */
  readonly blocks: BlockState[]
  /** Every block before this index has nothing that was never leased. */
  firstOpen: number
  /** Of this node's open blocks. Who has one is in the table of leases. */
  readonly leased: AddressSet
  readonly freed: FreedAddresses
  readonly usedRuns: UsedRuns
  /** Of this family, in whatever pool. */
  readonly reservations: ReadonlyMap<bigint, Reservation>
}

export interface PoolState {
  readonly pool: Pool
  readonly families: readonly FamilyState[]
  leaseCount: number
}

/**
 * What the allocator knows. Only evolve() and seeForeign() change it, in place: copying it for each decision would make a lease cost
 * more the more leases there are. Whoever applies an event and then fails to store it must restore the state from
 * the store.
 */
export interface State {
  /** In the order of the configuration. */
  readonly pools: ReadonlyMap<string, PoolState>
  readonly leases: LeaseTable
  /** Every block of the node, those that other nodes were granted, and those of pools that are configured no more: nobody may take what overlaps them. */
  readonly blocks: BlockState[]
  /** The same blocks by first address. */
  readonly blockAt: Readonly<Record<Family, Map<bigint, BlockState>>>
  readonly reservations: Readonly<Record<Family, Map<bigint, Reservation>>>
  readonly reservationsOf: Map<string, readonly Reservation[]>
  readonly grantees: Map<string, Grantee>
  /** The number of the last request to the upstream of each pool. */
  readonly sequences: Map<string, number>
  /** What no block may overlap, beside pools and blocks: replaced by whoever has looked at the node. */
  foreign: readonly ForeignRange[]
}

// Of a block whose pool is not configured any more. As long as the default of the configuration.
const COOLDOWN_OF_UNKNOWN_POOL_MS = 30_000

export function emptyState(pools: readonly Pool[], stored: LeaseSource = NO_LEASES): State {
  const reservations = { 4: new Map<bigint, Reservation>(), 6: new Map<bigint, Reservation>() }
  const states = pools.map((pool): [string, PoolState] => {
    const families = familiesOf(pool).map(family => emptyFamily(pool, family, reservations[family]))
    return [pool.name, { pool, families, leaseCount: 0 }]
  })
  return {
    pools: new Map(states),
    leases: new LeaseTable(stored),
    blocks: [],
    blockAt: { 4: new Map(), 6: new Map() },
    reservations,
    reservationsOf: new Map(),
    grantees: new Map(),
    sequences: new Map(),
    foreign: [],
  }
}

function emptyFamily(pool: Pool, family: Family, reservations: ReadonlyMap<bigint, Reservation>): FamilyState {
  const freed = new FreedAddresses(pool.cooldownMs)
  return { family, blocks: [], firstOpen: 0, leased: new AddressSet(), freed, usedRuns: new UsedRuns(), reservations }
}

/** The state that the store describes, under the pools that are configured now. */
export function restoreState(pools: readonly Pool[], snapshot: Snapshot, nowUnixMs: number): State {
  const state = emptyState(
    pools.map(pool => withPodCidrs(pool, snapshot.podCidrs)),
    snapshot.leases,
  )
  for (const reservation of snapshot.reservations) addReservation(state, reservation)
  for (const block of snapshot.blocks) takeBlock(state, block)
  for (const grantee of snapshot.grantees) state.grantees.set(grantee.node, grantee)
  for (const { pool, sequence } of snapshot.sequences) state.sequences.set(pool, sequence)
  for (const { address, block, freedAtUnixMs, ...keep } of snapshot.freed) {
    // A clock that was set back must not keep an address out for longer than the cooldown.
    free(state, { address, block: block.prefix }, { ...keep, atUnixMs: Math.min(freedAtUnixMs, nowUnixMs) })
  }
  for (const { block, addresses } of snapshot.leased) {
    for (const value of addresses) occupy(state, { address: { family: block.address.family, value }, block })
  }
  for (const { pool: name, leases } of snapshot.leaseCounts) {
    const pool = state.pools.get(name)
    if (pool !== undefined) pool.leaseCount = leases
  }
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
    case 'block-returned':
      return returnBlock(state, event)
    case 'grantee-seen':
      return void state.grantees.set(event.grantee.node, event.grantee)
    case 'upstream-asked':
      return void state.sequences.set(event.pool, event.sequence)
    case 'leased':
      return addLease(state, event.lease)
    case 'renewed':
      // The lease stays as it is; whoever wanted to end it sees that it was asked for.
      return state.leases.touch(event.lease.attachment)
    case 'released':
      return removeLease(state, event.lease, event.atUnixMs)
    case 'clock-set':
      return shiftMoments(state, event.stepMs)
    case 'reserved':
      return addReservation(state, event.reservation)
    case 'unreserved':
      return removeReservation(state, event.reservation)
  }
}

/** Replaces what no new block may overlap. */
export function seeForeign(state: State, ranges: readonly ForeignRange[]): void {
  state.foreign = ranges
}

export function familyOf(state: State, poolName: string, family: Family): FamilyState | undefined {
  return state.pools.get(poolName)?.families.find(each => each.family === family)
}

/** A block as it is when nothing of it was ever leased. */
export function freshBlock(pool: Pool, prefix: Prefix): BlockState {
  const reserved = reservedIn(pool, prefix)
  const cursor = prefix.address.value
  return { pool: pool.name, prefix, isDrained: false, reserved, cursor, leasedCount: 0, restsAtUnixMs: -Infinity }
}

/** True when some address of the block is neither leased nor one that its pool never leases. */
export function hasRoom({ prefix, reserved, leasedCount }: BlockState): boolean {
  const never = reserved.reduce((sum, range) => sum + sizeOfRange(range), 0n)
  return BigInt(leasedCount) < sizeOf(prefix) - never
}

/** The lowest address of the block that anybody may have and that was never leased; undefined when there is none. */
export function neverLeased(block: BlockState, family: FamilyState): bigint | undefined {
  const last = lastAddress(block.prefix).value
  let value = block.cursor
  while (value <= last) {
    const next = stepOver(block, family, value)
    if (next === value) return value
    value = next
  }
  return undefined
}

/** The address itself when anybody may have it and it was never leased; or else the first behind it that may be one. */
export function stepOver(block: BlockState, family: FamilyState, value: bigint): bigint {
  const reserved = block.reserved.find(range => range.first <= value && value <= range.last)
  if (reserved !== undefined) return reserved.last + 1n
  return family.leased.has(value) || family.freed.has(value) || family.reservations.has(value) ? value + 1n : value
}

function shiftMoments(state: State, stepMs: number): void {
  for (const { freed } of [...state.pools.values()].flatMap(pool => pool.families)) freed.shift(stepMs)
  for (const block of state.blocks) block.restsAtUnixMs += stepMs
}

function takeBlock(state: State, { pool: poolName, prefix, node }: TakenBlock): void {
  if (node !== undefined) return addBlock(state, { ...unusedBlock(poolName, prefix), node })
  const pool = state.pools.get(poolName)?.pool
  const family = familyOf(state, poolName, prefix.address.family)
  const isOpen = pool !== undefined && family !== undefined && hasBlock(pool, prefix)
  const block = isOpen ? freshBlock(pool, prefix) : { ...unusedBlock(poolName, prefix), isDrained: true }
  addBlock(state, block)
  if (!isOpen) return
  family.blocks.push(block)
  settle(family, block)
}

function addBlock(state: State, block: BlockState): void {
  const { family, value } = block.prefix.address
  state.blocks.push(block)
  state.blockAt[family].set(value, block)
}

/** A block from which nothing is leased here. */
function unusedBlock(pool: string, prefix: Prefix): BlockState {
  const cursor = prefix.address.value
  return { pool, prefix, isDrained: false, reserved: [], cursor, leasedCount: 0, restsAtUnixMs: -Infinity }
}

function returnBlock(state: State, { pool, prefix }: TakenBlock): void {
  const blocks = state.blockAt[prefix.address.family]
  const block = blocks.get(prefix.address.value)
  if (block === undefined) return
  blocks.delete(prefix.address.value)
  remove(state.blocks, block)
  const family = familyOf(state, pool, prefix.address.family)
  if (family === undefined || block.isDrained || block.node !== undefined) return
  if (remove(family.blocks, block) < family.firstOpen) family.firstOpen -= 1
  family.freed.deleteBlock(prefix)
  family.usedRuns.clear()
  // Behind it there may be blocks that were used up by requests for certain addresses.
  skipUsedUp(family)
}

/** The index at which the item stood. */
function remove<T>(items: T[], item: T): number {
  const index = items.indexOf(item)
  items.splice(index, 1)
  return index
}

function addLease(state: State, lease: Lease): void {
  state.leases.set(lease)
  const pool = state.pools.get(lease.pool)
  if (pool !== undefined) pool.leaseCount += 1
  for (const leased of lease.addresses) {
    const { block, family } = occupy(state, leased)
    if (block !== undefined && family !== undefined) settle(family, block)
  }
}

/** Marks the address as leased. */
function occupy(
  state: State,
  { address, block: prefix }: LeasedAddress,
): { readonly block?: BlockState; readonly family?: FamilyState | undefined } {
  const block = state.blockAt[address.family].get(prefix.address.value)
  if (block === undefined) return {}
  block.leasedCount += 1
  const family = block.isDrained ? undefined : familyOf(state, block.pool, address.family)
  family?.freed.delete(address.value)
  family?.leased.add(address.value)
  return { block, family }
}

/** Moves the marks past what is used up. They move back only when a reservation ends, so each address is stepped over once. */
function settle(family: FamilyState, block: BlockState): void {
  block.cursor = neverLeased(block, family) ?? lastAddress(block.prefix).value + 1n
  skipUsedUp(family)
}

function skipUsedUp(family: FamilyState): void {
  for (;;) {
    const open = family.blocks[family.firstOpen]
    if (open === undefined || open.cursor <= lastAddress(open.prefix).value) return
    family.firstOpen += 1
  }
}

function removeLease(state: State, lease: Lease, atUnixMs: number): void {
  state.leases.delete(lease.attachment)
  const pool = state.pools.get(lease.pool)
  if (pool !== undefined) pool.leaseCount -= 1
  for (const leased of lease.addresses) {
    const block = state.blockAt[leased.address.family].get(leased.block.address.value)
    if (block !== undefined) block.leasedCount -= 1
    free(state, leased, { atUnixMs, owner: lease.owner, stickySeconds: lease.stickySeconds })
  }
}

interface Freeing extends Pick<Lease, 'owner' | 'stickySeconds'> {
  readonly atUnixMs: number
}

function free(state: State, leased: LeasedAddress, { atUnixMs, owner, stickySeconds = 0 }: Freeing): void {
  const { value, family: version } = leased.address
  const block = state.blockAt[version].get(leased.block.address.value)
  if (block === undefined) return
  const keepMs = owner === undefined ? 0 : stickySeconds * 1000
  const cooldownMs = state.pools.get(block.pool)?.pool.cooldownMs ?? COOLDOWN_OF_UNKNOWN_POOL_MS
  // Nobody can get what a drained block keeps, so only the cooldown counts there.
  const restMs = block.isDrained ? cooldownMs : Math.max(cooldownMs, keepMs)
  block.restsAtUnixMs = Math.max(block.restsAtUnixMs, atUnixMs + restMs)
  const family = block.isDrained ? undefined : familyOf(state, block.pool, version)
  if (family === undefined) return
  family.leased.delete(value)
  // The pool may exclude by now what it leased before.
  if (block.reserved.some(range => range.first <= value && value <= range.last)) return
  const freed = { value, block: block.prefix, freedAtUnixMs: atUnixMs, owner, keepMs }
  family.freed.push(freed, family.reservations.has(value))
}

function addReservation(state: State, reservation: Reservation): void {
  const { address, owner } = reservation
  state.reservations[address.family].set(address.value, reservation)
  state.reservationsOf.set(owner, [...(state.reservationsOf.get(owner) ?? []), reservation])
  for (const { families } of state.pools.values()) {
    for (const family of families.filter(each => each.family === address.family)) {
      family.freed.setReserved(address.value, true)
      for (const block of family.blocks.filter(each => contains(each, address))) settle(family, block)
    }
  }
}

function removeReservation(state: State, { address, owner }: Reservation): void {
  state.reservations[address.family].delete(address.value)
  const left = (state.reservationsOf.get(owner) ?? []).filter(
    each => each.address.value !== address.value || each.address.family !== address.family,
  )
  if (left.length === 0) state.reservationsOf.delete(owner)
  else state.reservationsOf.set(owner, left)
  for (const { families } of state.pools.values()) {
    for (const family of families.filter(each => each.family === address.family)) {
      family.freed.setReserved(address.value, false)
      reopen(family, address)
    }
  }
}

/** Moves the marks back to an address that anybody may have again. */
function reopen(family: FamilyState, address: Address): void {
  family.usedRuns.clear()
  for (const [index, block] of family.blocks.entries()) {
    if (!contains(block, address) || block.cursor <= address.value) continue
    block.cursor = address.value
    family.firstOpen = Math.min(family.firstOpen, index)
    settle(family, block)
  }
}

function contains({ prefix }: BlockState, { value }: Address): boolean {
  return prefix.address.value <= value && value <= lastAddress(prefix).value
}

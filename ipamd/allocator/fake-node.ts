import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { formatPrefix, hostPrefix, parseAddressWithLength, parsePrefix } from '../../lib/net/prefix.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import type { AllocateRequest } from '../../lib/ipam/protocol.ts'
import { allocate } from './allocate.ts'
import type { LeaseEvent } from './events.ts'
import { giveBack } from './give-back.ts'
import { LeaseTable, NO_LEASES } from './lease-table.ts'
import type { Pool } from './pool.ts'
import { release } from './release.ts'
import { reserve, unreserve } from './reserve.ts'
import type { Snapshot } from './snapshot.ts'
import { emptyState, evolve, type State } from './state.ts'

/** What a new store holds. */
export const EMPTY_SNAPSHOT: Snapshot = {
  blocks: [],
  leases: NO_LEASES,
  leased: [],
  leaseCounts: [],
  freed: [],
  reservations: [],
  podCidrs: [],
  grantees: [],
  sequences: [],
  bootedAtUnixMs: undefined,
}

/** What a store with these leases says of them. */
export function snapshotOf(...leases: readonly Lease[]): Pick<Snapshot, 'leases' | 'leased' | 'leaseCounts'> {
  const table = new LeaseTable(NO_LEASES)
  for (const lease of leases) table.set(lease)
  const addresses = leases.flatMap(lease => lease.addresses)
  return {
    leases: table,
    leased: addresses.map(({ address, block }) => ({ block, addresses: [address.value] })),
    leaseCounts: leases.map(({ pool }) => ({ pool, leases: leases.filter(each => each.pool === pool).length })),
  }
}

/** A moment to count from. */
export const T0 = 1_700_000_000_000

/** A pool named "p" with blocks of /30 and /126, for tests. */
export function smallPool(
  prefixes: readonly string[],
  change: Partial<Pool> & { readonly without?: string } = {},
): Pool {
  const { without, ...rest } = change
  return {
    name: 'p',
    prefixes: prefixes.map(parsePrefix),
    blockPrefixLength: { 4: 30, 6: 126 },
    exclude: without === undefined ? [] : [hostPrefix(parseAddress(without))],
    cooldownMs: 30_000,
    ...rest,
  }
}

/** For tests: a node whose decisions happen at once, in text. */
export class FakeNode {
  readonly state: State
  now = T0

  constructor(...pools: readonly Pool[]) {
    this.state = emptyState(pools)
  }

  /** The addresses that were leased, or why none were. */
  lease(id: string, wish: Omit<AllocateRequest, 'attachment' | 'addresses'> & { readonly at?: string } = {}): string {
    const { at, ...rest } = wish
    const addresses = at === undefined ? {} : { addresses: at.split(' ').map(parseAddress) }
    const decision = allocate(this.state, { attachment: keyOf(id), ...rest, ...addresses }, this.now)
    if (decision.kind === 'leased') this.apply(decision.events)
    if ('why' in decision) return decision.why
    if (!('lease' in decision)) return decision.kind
    return decision.kind === 'other-lease'
      ? decision.kind
      : decision.lease.addresses.map(({ address }) => formatAddress(address)).join(' ')
  }

  release(id: string): void {
    const decision = release(this.state, { attachment: keyOf(id) }, { nowUnixMs: this.now, reason: 'del' })
    if (decision.kind === 'released') this.apply(decision.events)
  }

  reserve(address: string, owner: string, note?: string): string {
    const decision = reserve(this.state, { address: parseAddress(address), owner, note }, this.now)
    if (decision.kind === 'reserved') this.apply(decision.events)
    return decision.kind === 'address-refused' ? decision.why : decision.kind
  }

  unreserve(address: string): void {
    this.apply(unreserve(this.state, parseAddress(address), this.now))
  }

  /** The blocks that were given back. */
  giveBack(): readonly string[] {
    const events = giveBack(this.state, this.now)
    this.apply(events)
    return events.map(event => formatPrefix(event.prefix))
  }

  takeBlock(pool: string, text: string): void {
    const { address, prefixLength } = parseAddressWithLength(text)
    this.apply([{ type: 'block-taken', pool, prefix: { address, prefixLength }, atUnixMs: this.now }])
  }

  blocks(): readonly string[] {
    return this.state.blocks.map(block => formatPrefix(block.prefix))
  }

  apply(events: readonly LeaseEvent[]): void {
    for (const event of events) evolve(this.state, event)
  }
}

function keyOf(containerId: string) {
  return { network: 'net', containerId, ifName: 'eth0' }
}

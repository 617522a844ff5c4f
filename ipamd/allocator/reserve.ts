import type { Address } from '../../lib/net/address.ts'
import { containsAddress, prefixOf } from '../../lib/net/prefix.ts'
import type { LeaseEvent } from './events.ts'
import type { AddressRefused } from './exact.ts'
import { blockLengthIn, gatewayOf, reservedIn } from './pool.ts'
import type { Reservation } from './reservation.ts'
import type { State } from './state.ts'

export interface ReserveRequest {
  readonly address: Address
  readonly owner: string
  readonly note?: string | undefined
}

export type Reserving =
  | { readonly kind: 'reserved'; readonly reservation: Reservation; readonly events: readonly LeaseEvent[] }
  /** No pool has the address, or it is reserved for another owner, or its pool never leases it. */
  | (AddressRefused & { readonly why: 'reserved' | 'never-leased' })
  | { readonly kind: 'in-no-pool'; readonly address: Address; readonly known: readonly string[] }

/**
 * Decides a reservation. An address that is leased may be reserved: its holder keeps it until the lease ends. The same owner
 * asking again changes the note. Changes nothing.
 */
export function reserve(state: State, { address, owner, note }: ReserveRequest, nowUnixMs: number): Reserving {
  const pool = [...state.pools.values()].find(each =>
    each.pool.prefixes.some(prefix => containsAddress(prefix, address)),
  )
  const prefix = pool?.pool.prefixes.find(each => containsAddress(each, address))
  if (pool === undefined || prefix === undefined) {
    return { kind: 'in-no-pool', address, known: [...state.pools.keys()] }
  }
  const block = prefixOf(address, blockLengthIn(pool.pool, prefix))
  if (reservedIn(pool.pool, block).some(range => range.first <= address.value && address.value <= range.last)) {
    const role = gatewayOf(block)?.value === address.value ? 'gateway' : 'excluded or a network address'
    return { kind: 'address-refused', address, why: 'never-leased', block, role }
  }
  const known = state.reservations[address.family].get(address.value)
  if (known !== undefined && known.owner !== owner) {
    return { kind: 'address-refused', address, why: 'reserved', owner: known.owner }
  }
  const reservation: Reservation = { address, pool: pool.pool.name, owner, ...(note === undefined ? {} : { note }) }
  const events: LeaseEvent[] = []
  if (known !== undefined) {
    if (known.note === note) return { kind: 'reserved', reservation: known, events }
    events.push({ type: 'unreserved', reservation: known, atUnixMs: nowUnixMs })
  }
  events.push({ type: 'reserved', reservation, atUnixMs: nowUnixMs })
  return { kind: 'reserved', reservation, events }
}

/** Decides the end of a reservation; no event when there is none. Changes nothing. */
export function unreserve(state: State, address: Address, nowUnixMs: number): readonly LeaseEvent[] {
  const reservation = state.reservations[address.family].get(address.value)
  return reservation === undefined ? [] : [{ type: 'unreserved', reservation, atUnixMs: nowUnixMs }]
}

/** Every reservation, IPv4 first, in no other order. */
export function listReservations(state: State): readonly Reservation[] {
  return [...state.reservations[4].values(), ...state.reservations[6].values()]
}

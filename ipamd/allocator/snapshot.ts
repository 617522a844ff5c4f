import type { Lease } from '../../lib/ipam/lease.ts'
import type { Address } from '../../lib/net/address.ts'
import type { Prefix } from '../../lib/net/prefix.ts'
import type { LeaseSource } from './lease-table.ts'
import type { PodCidr } from './pod-cidr.ts'
import type { Reservation } from './reservation.ts'
import type { Grantee, TakenBlock } from './state.ts'

/** What the store holds. */
export interface Snapshot {
  readonly blocks: readonly TakenBlock[]
  /** Read whenever one is asked for: it is always what is stored then. */
  readonly leases: LeaseSource
  /** Which addresses of each block have a lease; blocks without one may be missing. */
  readonly leased: readonly LeasedInBlock[]
  /** How many leases each pool has; those of none may be missing. */
  readonly leaseCounts: readonly { readonly pool: string; readonly leases: number }[]
  /** Least recently freed first. */
  readonly freed: Iterable<StoredFreedAddress>
  readonly reservations: readonly Reservation[]
  /** What was handed over last. */
  readonly podCidrs: readonly PodCidr[]
  readonly grantees: readonly Grantee[]
  readonly sequences: readonly { readonly pool: string; readonly sequence: number }[]
  /** What was seen last in this boot of the machine; undefined in another one. */
  readonly bootedAtUnixMs: number | undefined
}

/** What of a block has a lease. */
export interface LeasedInBlock {
  readonly block: Prefix
  readonly addresses: readonly bigint[]
}

/** An address that was leased once and is not now, and whose it was. */
export interface StoredFreedAddress extends Pick<Lease, 'owner' | 'stickySeconds'> {
  readonly address: Address
  readonly block: TakenBlock
  readonly freedAtUnixMs: number
}

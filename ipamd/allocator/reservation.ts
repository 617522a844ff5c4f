import type { Address } from '../../lib/net/address.ts'

/** An address that only requests of one owner get. It outlives leases, blocks and restarts. */
export interface Reservation {
  readonly address: Address
  /** The pool that had the address when it was reserved. */
  readonly pool: string
  /** As requests name it: "namespace/name" for a pod. */
  readonly owner: string
  /** For people. */
  readonly note?: string | undefined
}

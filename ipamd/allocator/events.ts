import type { Lease } from '../../lib/ipam/lease.ts'
import type { PodReference } from '../../lib/ipam/protocol.ts'
import type { Prefix } from '../../lib/net/prefix.ts'
import type { Grantee } from './state.ts'
import type { Reservation } from './reservation.ts'

/**
 * Why a lease ended: DEL asked the daemon, DEL left an entry in the spool, GC did not name the attachment, the reconciler
 * found that its pod is gone, or a person said so.
 */
export type ReleaseReason = 'del' | 'spool' | 'collect' | 'reconcile' | 'force'

interface BlockChange {
  readonly pool: string
  readonly prefix: Prefix
  /** Another node, that is granted the block; absent: this one. */
  readonly node?: string | undefined
  readonly atUnixMs: number
}

/**
 * The ranges that new leases of a pool come from were handed over. The state is restored from the store afterwards: which
 * blocks drain follows from it.
 */
export interface PodCidrsHandedOver {
  readonly type: 'pod-cidrs-handed-over'
  readonly pool: string
  readonly podCidrs: readonly Prefix[]
}

/** What the wall clock said when the machine booted, by the clock under which the stored moments are right now. */
export interface ClockSeen {
  readonly type: 'clock-seen'
  readonly bootedAtUnixMs: number
}

/** What the store takes. */
export type StoredChange = LeaseEvent | PodCidrsHandedOver | ClockSeen

/** One change of the state. The store keeps each, in the order of decision. */
export type LeaseEvent =
  | (BlockChange & { readonly type: 'block-taken' })
  | (BlockChange & { readonly type: 'block-returned' })
  /** Another node was granted blocks, or gave some back. */
  | { readonly type: 'grantee-seen'; readonly grantee: Grantee }
  /** The upstream of a pool is about to be asked: no later request has this number. */
  | { readonly type: 'upstream-asked'; readonly pool: string; readonly sequence: number }
  | {
      readonly type: 'leased'
      readonly lease: Lease
      readonly pod: PodReference | undefined
      /** The program that asked, when it said so. */
      readonly via?: string | undefined
    }
  /** The same attachment asked again, after a restart of the node or through another plugin: its lease is of now (R1). */
  | { readonly type: 'renewed'; readonly lease: Lease; readonly via?: string | undefined }
  | {
      readonly type: 'released'
      readonly lease: Lease
      readonly atUnixMs: number
      readonly reason: ReleaseReason
      /** For a person: what was seen that led to it. */
      readonly detail?: string | undefined
    }
  /** The wall clock was set, by this much forward: what is left of cooldowns and keep times stays as it was. */
  | { readonly type: 'clock-set'; readonly stepMs: number }
  | { readonly type: 'reserved'; readonly reservation: Reservation; readonly atUnixMs: number }
  | { readonly type: 'unreserved'; readonly reservation: Reservation; readonly atUnixMs: number }

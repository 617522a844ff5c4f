import type { Lease } from '../../lib/ipam/lease.ts'
import type { PodReference } from '../../lib/ipam/protocol.ts'
import type { Prefix } from '../../lib/net/prefix.ts'

/** Why a lease ended: DEL asked the daemon, DEL left an entry in the spool, or GC did not name the attachment. */
export type ReleaseReason = 'del' | 'spool' | 'collect'

/** One change of the state. The store keeps each, in the order of decision. */
export type LeaseEvent =
  | { readonly type: 'block-taken'; readonly pool: string; readonly prefix: Prefix; readonly atUnixMs: number }
  | { readonly type: 'leased'; readonly lease: Lease; readonly pod: PodReference | undefined }
  | { readonly type: 'released'; readonly lease: Lease; readonly atUnixMs: number; readonly reason: ReleaseReason }

import type { Address } from '../net/address.ts'
import type { Prefix } from '../net/prefix.ts'
import type { OnLinkAddress, PodRoute } from '../plan/plan-bridge.ts'
import type { ValidAttachment } from '../cni/configuration.ts'
import type { Dns } from '../cni/result.ts'
import type { AttachmentCall, Call } from './call.ts'
import { delegateSource } from './delegate-source.ts'
import type { Edges } from './edges.ts'
import { ipamdSource } from './ipamd-source.ts'
import type { LeaseWish } from './lease-wish.ts'
import type { Deadline } from '../time/deadline.ts'

/** What an attachment was given. */
export interface Granted {
  /** At most one for each family. */
  readonly addresses: readonly Address[]
  /** What is to be routed through the host; undefined means everything. */
  readonly destinations?: readonly Prefix[]
  /** The same addresses as those of a shared link, in the same order: for a pod that is on one. */
  readonly onLink: readonly OnLinkAddress[]
  /** What the IPAM plugin has to say of routes on a shared link. */
  readonly routes: readonly PodRoute[]
  readonly dns: Dns
  /** False when the attachment had it before this call. */
  readonly isNew: boolean
  /** See Leasing. */
  readonly whenDurable: () => Promise<void>
}

/** An ADD, with what it asks of ipamd. Another IPAM plugin reads that from the configuration itself. */
export interface AllocateCall extends AttachmentCall {
  readonly wish: LeaseWish
}

/** Where addresses come from: ipamd over its socket, or another IPAM plugin. */
export interface AddressSource {
  /** True when an attachment that is asked for twice gets the same, and nothing is changed: for an interface that is in use, say. */
  readonly isIdempotent: boolean
  /** Leases addresses; durable as `whenDurable` says (invariant 2). A failure may have leased all the same: `release` follows it. */
  allocate(call: AllocateCall, by: Deadline): Promise<Granted>
  /** Gives the addresses back. Nothing to give back is success. Call it only when the interface is gone (invariant 2). */
  release(call: AttachmentCall, by: Deadline): Promise<void>
  /** When what the attachment has was given to it, in unix milliseconds; undefined when it has nothing, or that is not known. */
  grantedAtUnixMs(call: AttachmentCall, by: Deadline): Promise<number | undefined>
  /** What is wrong with the reservation of `addresses`, each as a sentence. */
  check(call: AttachmentCall, addresses: readonly Address[], by: Deadline): Promise<readonly string[]>
  /** Frees what the network holds for attachments other than `keep`; undefined: what the source itself knows to be stale. */
  collect(call: Call, keep: readonly ValidAttachment[] | undefined, by: Deadline): Promise<void>
  /** Resolves when an ADD could get an address now. */
  status(call: Call, by: Deadline): Promise<void>
}

/** The source that the configuration names. */
export function addressSource({ own }: Call, edges: Edges): AddressSource {
  return own.ipam.kind === 'tulle' ? ipamdSource(own.ipam, edges) : delegateSource(own.ipam.type, edges)
}

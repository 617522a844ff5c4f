import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { StaleReason } from '../../lib/ipam/reconcile.ts'
import { hostIfNameOf } from '../../lib/plan/link-names.ts'
import type { BootFacts } from '../store/boot-facts.ts'
import type { LeaseOrigin } from '../store/lease-origin.ts'
import type { Remembered } from './remember.ts'

/** What one observation of the node saw. */
export interface Sight {
  readonly boot: BootFacts
  /** attachmentKeyText() of every attachment that a link of ours names as its owner. */
  readonly carried: ReadonlySet<string>
  /** The names of all links of ours, whatever their alias says. */
  readonly linkNames: ReadonlySet<string>
  /** True when something still lives in the network namespace of this inode, or holds it. */
  readonly isNetnsAlive: (inode: number) => boolean
}

/** A lease that looks stale. After a restart of the node that may be all of them: only what tells them apart is kept. */
export interface Suspicion extends Remembered {
  readonly id: number
  readonly attachment: AttachmentKey
  readonly reason: StaleReason
}

/**
 * Why the lease looks stale in what was seen; undefined when it may belong to a living pod (checklist R1, R6).
 *
 * A link of ours that names the attachment, or has the name derived from it, keeps the lease in any case. Else:
 *
 * - another boot ID: no pod outlives its kernel;
 * - another network namespace of the node, in which the plugin ran, and of which nothing is left: its links went with it;
 * - in this one: a lease that the plugin tulle asked for has a link, from before ADD ends until DEL. One that tulle-ipam asked
 *   for has a link of another plugin, which is nobody's to look for: it is never freed for want of a link.
 *
 * The start of process 1 alone proves nothing: a daemon in a process namespace of its own sees another process 1 each time.
 */
export function staleReasonOf(lease: LeaseOrigin, sight: Sight): StaleReason | undefined {
  const reason = suspect(lease, sight)
  if (reason === undefined || sight.carried.has(attachmentKeyText(lease.attachment))) return undefined
  // Last, because deriving a name costs more than all else.
  return sight.linkNames.has(hostIfNameOf(lease.attachment)) ? undefined : reason
}

function suspect({ boot, via }: LeaseOrigin, sight: Sight): StaleReason | undefined {
  if (boot.bootId !== sight.boot.bootId) return 'older-boot'
  if (boot.hostNetnsInode !== sight.boot.hostNetnsInode) {
    // A daemon in a container had a namespace of its own, which says nothing about the pods.
    return via === undefined || sight.isNetnsAlive(boot.hostNetnsInode) ? undefined : 'netns-gone'
  }
  return via === 'tulle' ? 'no-interface' : undefined
}

/** The leases that look stale in what was seen. */
export function decideStale(leases: readonly LeaseOrigin[], sight: Sight): readonly Omit<Suspicion, 'sinceUptimeMs'>[] {
  return leases.flatMap(lease => {
    const reason = staleReasonOf(lease, sight)
    return reason === undefined
      ? []
      : [{ key: suspicionKey(lease, reason), id: lease.id, attachment: lease.attachment, reason }]
  })
}

/** The same lease for the same reason: a later lease of the attachment, or another reason, begins anew. */
function suspicionKey({ id, boot }: LeaseOrigin, reason: StaleReason): string {
  // A lease keeps its id, and no other lease ever has it.
  return `${id} ${boot.bootId} ${boot.hostNetnsInode} ${reason}`
}

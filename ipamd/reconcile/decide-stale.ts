import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import type { StaleReason } from '../../lib/ipam/reconcile.ts'
import { hostIfNameOf } from '../../lib/plan/link-names.ts'
import type { BootFacts } from '../store/boot-facts.ts'
import { isSameBoot, type LeaseOrigin } from '../store/lease-origin.ts'

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

/**
 * A lease that looks stale. After a restart of the node that may be all of them: only what tells them apart is kept, and who has the
 * lease is in the store.
 */
export interface Suspicion {
  /** Of the lease, which keeps it, and no other lease ever has it. */
  readonly id: number
  readonly reason: StaleReason
  /** What "this boot" was when the lease was last asked for. */
  readonly boot: BootFacts
  /** When it was first seen, and at every look since; on a clock that nobody sets, in milliseconds. */
  readonly sinceUptimeMs: number
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

/** Adds those of the leases that look stale now; each begins when it was first suspected for the same reason, without a break. */
export function suspectStale(
  suspicions: Map<number, Suspicion>,
  leases: readonly LeaseOrigin[],
  { sight, before, nowUptimeMs }: SecondLook,
): void {
  // Most of them are of one boot: one object is enough for those that are side by side.
  let last: BootFacts | undefined
  for (const lease of leases) {
    const reason = staleReasonOf(lease, sight)
    if (reason === undefined) continue
    const { id, boot } = lease
    const known = before.get(id)
    const isSame = known?.reason === reason && isSameBoot(known.boot, boot)
    last = last !== undefined && isSameBoot(last, boot) ? last : boot
    suspicions.set(id, isSame ? known : { id, reason, boot: last, sinceUptimeMs: nowUptimeMs })
  }
}

/** What was seen, and what was suspected when it was looked at before. */
export interface SecondLook {
  readonly sight: Sight
  readonly before: ReadonlyMap<number, Suspicion>
  readonly nowUptimeMs: number
}

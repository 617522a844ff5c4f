import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { AllocateRequest } from '../../lib/ipam/protocol.ts'
import type { BootFacts } from './boot-facts.ts'

/** The plugin that asked for a lease. */
export type Via = NonNullable<AllocateRequest['via']>

/** Where a lease comes from: what tells whether it is stale (checklist R1). */
export interface LeaseOrigin {
  /** Rises with each lease. */
  readonly id: number
  readonly attachment: AttachmentKey
  readonly leasedAtUnixMs: number
  /** What "this boot" was when the lease was last asked for. */
  readonly boot: BootFacts
  /**
   * Only when the plugin ran in the daemon's own network namespace: the interface of tulle is then one that the daemon can see,
   * and `boot.hostNetnsInode` is the namespace that the pods hang on. Absent when that is not known.
   */
  readonly via?: Via
}

/** Who asks, as far as it is kept with the lease. */
export function viaOf(
  { via, hostNetnsInode }: Pick<AllocateRequest, 'via' | 'hostNetnsInode'>,
  boot: BootFacts,
): Via | undefined {
  // From another namespace its links are out of sight here, and what can't be seen proves nothing. Nor does the end of the
  // daemon's own namespace, which is one of a container's: pods live on when it starts anew.
  return hostNetnsInode === boot.hostNetnsInode ? via : undefined
}

export function isSameBoot(a: BootFacts, b: BootFacts): boolean {
  return a.bootId === b.bootId && a.initStartTicks === b.initStartTicks && a.hostNetnsInode === b.hostNetnsInode
}

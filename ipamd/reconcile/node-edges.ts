import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { IfName } from '../../lib/net/if-name.ts'
import type { Kernel } from '../../lib/plan/kernel.ts'
import type { Deadline } from '../../lib/time/deadline.ts'

/** The node, as the reconciler sees it. */
export interface NodeEdges {
  /** The network namespace that the daemon runs in. */
  readonly openKernel: () => Kernel
  /** The lock that ADD, DEL and GC take. @throws {DeadlineExceeded} when somebody holds it. */
  readonly lock: (attachment: AttachmentKey, by: Deadline) => Promise<Disposable>
  /** True when somebody holds or wants the lock of an attachment whose host-side link has this name. */
  readonly isBusy: (hostIfName: IfName) => boolean
  /** True when a process lives in the network namespace of this inode, or a mount keeps it. */
  readonly isNetnsAlive: (inode: number) => boolean
}

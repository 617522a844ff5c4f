/**
 * What "this boot" is. In node containers (kind) and in namespaces the boot ID stays the same when the node restarts: the
 * start of process 1 and the inode of the host's network namespace tell those restarts apart.
 */
export interface BootFacts {
  readonly bootId: string
  /** When process 1 started, in clock ticks since the boot of the kernel. */
  readonly initStartTicks: number
  readonly hostNetnsInode: number
}

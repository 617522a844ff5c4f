import { openLinuxKernel } from '../lib/kernel/linux-kernel.ts'
import { formatPrefix, type Prefix } from '../lib/net/prefix.ts'
import { isErrno } from '../lib/plan/kernel.ts'
import type { Deadline } from '../lib/time/deadline.ts'
import type { NativeAddon } from '../native/addon.ts'
import type { Log } from '../lib/log/json-log.ts'

/**
 * Keeps packets to addresses of the node's blocks that no pod holds on the node: `unreachable BLOCK` (checklist R29). A pod's
 * own /32 or /128 is more specific and wins.
 *
 * The route is there before the first address of the block is answered, and stays when the daemon stops: the block is still
 * the node's. Without the right to change routes (a daemon for IPAM alone) the daemon serves, and says what is missing.
 */
export function addBlockRoute(addon: NativeAddon, log: Log): (block: Prefix, by: Deadline) => Promise<void> {
  // Said once for each block: the reconciler asks for a route that is missing again and again.
  const refused = new Set<string>()
  return async (block, by) => {
    using kernel = openLinuxKernel(addon, { exchange: 'async' })
    try {
      await kernel.apply({ do: 'add-unreachable', block }, by)
    } catch (failure) {
      if (isErrno(failure, 'EEXIST')) return
      if (!isErrno(failure, 'EPERM')) throw failure
      const text = formatPrefix(block)
      if (refused.has(text)) return
      refused.add(text)
      log.warn('no route refuses packets to free addresses', { block: text, error: failure })
    }
  }
}

/** Takes away what addBlockRoute() made, when the block is not the node's any more. */
export function deleteBlockRoute(addon: NativeAddon, log: Log): (block: Prefix, by: Deadline) => Promise<void> {
  return async (block, by) => {
    using kernel = openLinuxKernel(addon, { exchange: 'async' })
    try {
      await kernel.apply({ do: 'delete-unreachable', block }, by)
    } catch (failure) {
      // The kernel says ESRCH for a route that is not there.
      if (isErrno(failure, 'ESRCH')) return
      if (!isErrno(failure, 'EPERM')) throw failure
      log.warn('the route of a block that was given back stays', { block: formatPrefix(block), error: failure })
    }
  }
}

import { forwardPackets } from '../lib/attach/node.ts'
import { openLinuxKernel } from '../lib/kernel/linux-kernel.ts'
import { formatPrefix, type Prefix } from '../lib/net/prefix.ts'
import { isErrno } from '../lib/plan/kernel.ts'
import type { Deadline } from '../lib/time/deadline.ts'
import type { NativeAddon } from '../native/addon.ts'
import type { Log } from '../lib/log/json-log.ts'

/**
 * Has the node forward packets of the block's family, and keeps those to addresses of the block that no pod holds on the node:
 * `unreachable BLOCK` (checklist R29). A pod's own /32 or /128 is more specific and wins.
 *
 * Both are there before the first address of the block is answered: a node may get packets for services whose pods are on other nodes
 * before it has a pod. They stay when the daemon stops: the block is still the node's. Without the right to change them (a daemon
 * for IPAM alone) the daemon serves, and says what is missing.
 */
export function takeBlockIn(addon: NativeAddon, log: Log): (block: Prefix, by: Deadline) => Promise<void> {
  // Said once for each block: the reconciler asks for a route that is missing again and again.
  const said = new Set<string>()
  const warn = (what: string, block: Prefix, error: unknown): void => {
    const text = formatPrefix(block)
    if (said.has(`${what} ${text}`)) return
    said.add(`${what} ${text}`)
    log.warn(what, { block: text, error })
  }
  return async (block, by) => {
    using kernel = openLinuxKernel(addon, { exchange: 'async' })
    try {
      await forwardPackets(kernel, { families: [block.address.family], log: line => log.info(line), by })
    } catch (failure) {
      if (!isErrno(failure, 'EPERM', 'EACCES', 'EROFS')) throw failure
      warn('the node may not forward packets to its pods', block, failure)
    }
    try {
      await kernel.apply({ do: 'add-unreachable', block }, by)
    } catch (failure) {
      if (isErrno(failure, 'EEXIST')) return
      if (!isErrno(failure, 'EPERM')) throw failure
      warn('no route refuses packets to free addresses', block, failure)
    }
  }
}

/** Takes away the route that takeBlockIn() made, when the block is not the node's any more. */
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

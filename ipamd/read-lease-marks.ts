import { openLinuxKernel } from '../lib/kernel/linux-kernel.ts'
import { bitsOf, type Prefix } from '../lib/net/prefix.ts'
import type { ObservedLink, OwnRoute } from '../lib/plan/observed.ts'
import { parseOwner } from '../lib/plan/owner.ts'
import type { Deadline } from '../lib/time/deadline.ts'
import type { NativeAddon } from '../native/addon.ts'
import type { LeaseMark } from './store/lease-mark.ts'

/** Reads which attachments have addresses from the marks that ADD leaves on the node. @throws {KernelError} */
export function readLeaseMarks(addon: NativeAddon): (by: Deadline) => Promise<readonly LeaseMark[]> {
  return async by => {
    using kernel = openLinuxKernel(addon, { exchange: 'async' })
    return leaseMarksOf(await kernel.observeOwnLinks(by), await kernel.observeOwnRoutes(by))
  }
}

/** Reads which blocks the node has had, from the routes that refuse packets to their free addresses. @throws {KernelError} */
export function readBlockMarks(addon: NativeAddon): (by: Deadline) => Promise<readonly Prefix[]> {
  return async by => {
    using kernel = openLinuxKernel(addon, { exchange: 'async' })
    const routes = await kernel.observeOwnRoutes(by)
    return routes.filter(({ linkIndex }) => linkIndex === undefined).map(({ to }) => to)
  }
}

/**
 * The owner in the alias of each link of ours, with the addresses that routes of ours lead to through it.
 *
 * An unfinished interface counts too: its pod may hold the address until the next DEL.
 */
export function leaseMarksOf(links: readonly ObservedLink[], routes: readonly OwnRoute[]): readonly LeaseMark[] {
  return links.flatMap(({ alias, index }) => {
    const owner = alias === undefined ? undefined : parseOwner(alias)
    if (owner === undefined) return []
    const addresses = routes
      .filter(({ to, linkIndex }) => linkIndex === index && to.prefixLength === bitsOf(to.address.family))
      .map(({ to }) => to.address)
    return addresses.length === 0 ? [] : [{ attachment: owner.attachment, addresses }]
  })
}

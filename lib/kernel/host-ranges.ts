import type { NativeAddon } from '../../native/addon.ts'
import { containsPrefix, formatPrefix, parsePrefix, prefixOf, type Prefix } from '../net/prefix.ts'
import type { HostRange } from '../plan/host-range.ts'
import { KernelError } from '../plan/kernel.ts'
import { LINK_GROUP, ROUTE_PROTOCOL } from '../plan/marks.ts'
import type { Deadline } from '../time/deadline.ts'
import { NetlinkError } from './netlink-error.ts'
import { NETLINK_ROUTE, OWN_NETNS, NetlinkSocket, type NetlinkReply } from './netlink-socket.ts'
import * as decode from './rtnetlink-decode.ts'
import * as encode from './rtnetlink-encode.ts'

/** Loopback, link-local and multicast: every node has them, and no pool can. */
const EVERYWHERE = ['127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '::1/128', 'fe80::/10', 'ff00::/8'].map(parsePrefix)

/**
 * Reads which ranges the node uses, in the network namespace of this process: the subnets of its addresses, and the
 * destinations of the routes in its main table.
 *
 * What is ours does not count: routes of our protocol, and everything on links of our group. Nor does a default route.
 *
 * @throws {KernelError} with the kernel's errno.
 */
export async function observeHostRanges(addon: NativeAddon, by: Deadline): Promise<readonly HostRange[]> {
  using socket = new NetlinkSocket(addon, { netnsFd: OWN_NETNS, protocol: NETLINK_ROUTE, exchange: 'async' })
  try {
    const links = await socket.dump(encode.dumpLinks(), by)
    const addresses = await socket.dump(encode.dumpAllAddresses(), by)
    const routes = [
      ...(await socket.dump(encode.dumpRoutes(4, { type: 'any' }), by)),
      ...(await socket.dump(encode.dumpRoutes(6, { type: 'any' }), by)),
    ]
    return hostRangesIn({ links, addresses, routes })
  } catch (cause) {
    if (!(cause instanceof NetlinkError)) throw cause
    throw new KernelError('reading the ranges of the node', cause.code, { cause, detail: cause.extAck })
  }
}

/** @param dumps the kernel's answers, one object each. */
function hostRangesIn(dumps: {
  readonly links: readonly NetlinkReply[]
  readonly addresses: readonly NetlinkReply[]
  readonly routes: readonly NetlinkReply[]
}): readonly HostRange[] {
  const links = new Map(dumps.links.map(decode.decodeLink).map(link => [link.index, link]))
  const isOurs = (index: number): boolean => links.get(index)?.group === LINK_GROUP
  const on = (index: number): string => ` dev ${links.get(index)?.name ?? index}`
  const ranges: HostRange[] = []
  for (const reply of dumps.addresses) {
    const index = decode.addressLinkIndex(reply)
    const observed = decode.decodeAddress(reply)?.address
    if (observed === undefined || isOurs(index)) continue
    const what = `address ${formatPrefix(observed)}${on(index)}`
    ranges.push({ prefix: prefixOf(observed.address, observed.prefixLength), what })
  }
  for (const reply of dumps.routes) {
    const route = decode.decodeHostRoute(reply)
    if (route === undefined || route.protocol === ROUTE_PROTOCOL || route.linkIndexes.some(isOurs)) continue
    ranges.push({ prefix: route.to, what: `route ${formatPrefix(route.to)}${route.linkIndexes.map(on).join('')}` })
  }
  return ranges.filter(({ prefix }) => counts(prefix))
}

function counts(prefix: Prefix): boolean {
  return prefix.prefixLength > 0 && !EVERYWHERE.some(each => containsPrefix(each, prefix))
}

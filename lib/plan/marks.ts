/**
 * What is ours in the kernel, and therefore what we may change or delete (invariant 4). Everything else belongs to
 * somebody else, whatever it looks like.
 */

/** Route protocol number of every route that we add (rtnetlink(7), rtm_protocol; 117 is "u", free in rt_protos). */
export const ROUTE_PROTOCOL = 117

/**
 * Route protocol number of the routes to other nodes' pods. Not that of the pods' routes: what reconciles those (ipamd) and
 * what reconciles these (the agent) delete what is theirs and unwanted, and must not take each other's for it.
 */
export const NODE_ROUTE_PROTOCOL = 118

/**
 * Metric of the routes to other nodes' pods. The kernel tells routes to one prefix apart by their metric: with one that
 * nobody else uses, changing ours never overwrites another's. Above the kernel's own (1024 for IPv6), so that a route which an
 * operator sets on purpose wins.
 */
export const NODE_ROUTE_METRIC = 1180

/**
 * The node's VXLAN device. Not `tul…`: those are pods, and our nftables rules drop what pods must not send. It is in
 * LINK_GROUP, as everything that we make.
 */
export const OVERLAY_IF_NAME = 'vx-tulle'

/**
 * Metric of the routes that refuse packets to a block: the last of all. A bridge that holds the block's gateway has a route of
 * its own to the same prefix, and that one has to win.
 */
export const UNREACHABLE_METRIC = 0xffff_ffff

/** Link group of every host-side veth that we create: "tul" in ASCII. It travels in the request that creates the link. */
export const LINK_GROUP = 0x74756c

/** The first and the last of the groups into which links of ours are put to be removed together. "tul" and one byte more. */
export const REMOVAL_GROUPS = { first: 0x74756c00, last: 0x74756cff } as const

/** True for the group of links of ours, also while they are being removed. */
export function isOurGroup(group: number): boolean {
  return group === LINK_GROUP || (group >= REMOVAL_GROUPS.first && group <= REMOVAL_GROUPS.last)
}

/** How the name of every host-side veth begins. `veth*` is everybody's. */
export const HOST_IF_NAME_PREFIX = 'tul'

/**
 * How the name begins of a link through which a pod's packets are led to be shaped. Not `tul…`: those are pods, and our
 * nftables rules drop what pods must not send.
 */
export const IFB_NAME_PREFIX = 'tib'

/** Our nftables table (family inet). We touch no other. */
export const NFT_TABLE = 'tulle'

/** The next hop of every routed pod over IPv4: a link-local address that no interface holds. */
export const GATEWAY_IPV4 = '169.254.1.1'

/** The next hop of every routed pod over IPv6: the link-local address of its host-side veth. */
export const GATEWAY_IPV6 = 'fe80::1'

/** The alias of a bridge that we created. Whether it is ours its group says, which it has from the start. */
export const BRIDGE_ALIAS = 'tulle/1 bridge'

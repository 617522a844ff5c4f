/**
 * What is ours in the kernel, and therefore what we may change or delete (invariant 4). Everything else belongs to
 * somebody else, whatever it looks like.
 */

/** Route protocol number of every route that we add (rtnetlink(7), rtm_protocol; 117 is "u", free in rt_protos). */
export const ROUTE_PROTOCOL = 117

/**
 * Metric of the routes that refuse packets to a block: the last of all. A bridge that holds the block's gateway has a route of
 * its own to the same prefix, and that one has to win.
 */
export const UNREACHABLE_METRIC = 0xffff_ffff

/** Link group of every host-side veth that we create: "tul" in ASCII. It travels in the request that creates the link. */
export const LINK_GROUP = 0x74756c

/** How the name of every host-side veth begins. `veth*` is everybody's. */
export const HOST_IF_NAME_PREFIX = 'tul'

/** Our nftables table (family inet). We touch no other. */
export const NFT_TABLE = 'tulle'

/** The next hop of every routed pod over IPv4: a link-local address that no interface holds. */
export const GATEWAY_IPV4 = '169.254.1.1'

/** The next hop of every routed pod over IPv6: the link-local address of its host-side veth. */
export const GATEWAY_IPV6 = 'fe80::1'

import type { NativeAddon } from '../../native/addon.ts'
import { NFT_TABLE } from '../plan/marks.ts'
import type { NftChain } from '../plan/nft-chain.ts'
import type { Deadline } from '../time/deadline.ts'
import { NetlinkError } from './netlink-error.ts'
import { NETLINK_NETFILTER, OWN_NETNS, NetlinkSocket } from './netlink-socket.ts'
import { decodeChain, deleteTable, dumpChains } from './nftables-encode.ts'
import { toKernelError } from './to-kernel-error.ts'

/**
 * Reads the chains of all nftables tables of this node, whoever made them (iptables-nft is one of those).
 *
 * @throws {KernelError}
 */
export async function readNftChains(addon: NativeAddon, by: Deadline): Promise<readonly NftChain[]> {
  using socket = openNetfilter(addon)
  try {
    return (await socket.dump(dumpChains(), by)).map(decodeChain)
  } catch (cause) {
    throw toKernelError(cause, 'nft list chains')
  }
}

/**
 * Deletes our table with everything in it. One that is not there is gone.
 *
 * @throws {KernelError}
 */
export async function deleteNftTable(addon: NativeAddon, by: Deadline): Promise<void> {
  using socket = openNetfilter(addon)
  try {
    await socket.transaction(deleteTable(), by)
  } catch (cause) {
    if (cause instanceof NetlinkError && cause.code === 'ENOENT') return
    throw toKernelError(cause, `nft delete table inet ${NFT_TABLE}`)
  }
}

function openNetfilter(addon: NativeAddon): NetlinkSocket {
  return new NetlinkSocket(addon, { netnsFd: OWN_NETNS, protocol: NETLINK_NETFILTER, exchange: 'async' })
}

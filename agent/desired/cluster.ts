import { addressAt, formatAddress, type Address, type Family } from '../../lib/net/address.ts'
import { fnv1a64 } from '../../lib/ipam/attachment.ts'
import { macFromBytes, macToBytes, type Mac } from '../../lib/net/mac.ts'
import { formatPrefix, type Prefix } from '../../lib/net/prefix.ts'

/** A node of the cluster, as far as it decides how packets get to its pods. */
export interface ClusterNode {
  readonly name: string
  readonly uid: string
  /** When its Node object was made: of two nodes that claim the same addresses, the older one has them. */
  readonly createdAtUnixMs: number
  /** Of each family at most one, as Kubernetes has it. Empty until the cluster gave it some. */
  readonly podCidrs: readonly Prefix[]
  /** Its addresses of type InternalIP. */
  readonly internalIps: readonly Address[]
  /** What of the Node object could not be read, for a person; nothing is sent to such a node. */
  readonly fault?: string
}

/** Whether nothing changed that decides how packets get to a node's pods. */
export function isSameNode(a: ClusterNode, b: ClusterNode): boolean {
  return textOf(a) === textOf(b)
}

function textOf({ uid, createdAtUnixMs, podCidrs, internalIps, fault = '' }: ClusterNode): string {
  const parts = [...podCidrs.map(formatPrefix), '', ...internalIps.map(formatAddress)]
  return [uid, createdAtUnixMs, fault, ...parts].join(' ')
}

/** The first InternalIP of `family`, which is the one that Kubernetes means by it. */
export function internalIpOf(node: ClusterNode, family: Family): Address | undefined {
  return node.internalIps.find(address => address.family === family)
}

/**
 * The hardware address of a node's end of the overlay: derived from its name, so that every node knows every other's without
 * asking, and it is the same after a restart.
 */
export function overlayMacOf(nodeName: string): Mac {
  const hash = fnv1a64(`overlay ${nodeName}`)
  const bytes = Uint8Array.from({ length: 6 }, (_, index) => Number((hash >> BigInt(8 * index)) & 0xffn))
  // Locally administered, unicast (IEEE 802: bit 1 set, bit 0 clear).
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02
  return macFromBytes(bytes)
}

const LINK_LOCAL = 0xfe80n << 112n

/**
 * The IPv6 address that stands for a node's end of the overlay: link-local, made of its hardware address (RFC 4291, appendix
 * A). The kernel takes a link-local next hop as it is, whatever other routes there are.
 */
export function overlayGatewayOf(mac: Mac): Address {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macToBytes(mac)
  const identifier = [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f].reduce((value, byte) => (value << 8n) | BigInt(byte), 0n)
  return addressAt(6, LINK_LOCAL | identifier)
}

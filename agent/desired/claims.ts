import { compareAddresses, formatAddress, type Address } from '../../lib/net/address.ts'
import { containsAddress, containsPrefix, formatPrefix, type Prefix } from '../../lib/net/prefix.ts'
import type { ClusterNode } from './cluster.ts'

/** A pod CIDR that a node may not have, and why. */
export interface Refusal {
  readonly nodeName: string
  readonly prefix: Prefix
  readonly reason: string
}

interface Claim {
  readonly prefix: Prefix
  readonly node: ClusterNode
}

/**
 * The pod CIDRs that must not be used (checklist R30, R31): those that overlap an older node's, and those in which an address
 * of a node lies, because a route to them would take that node's own traffic away.
 *
 * Every node decides the same from the same objects: of two that overlap, the older node keeps its own, and of two of one age
 * the one whose name comes first.
 */
export function refusedClaims(nodes: readonly ClusterNode[]): readonly Refusal[] {
  const claims = nodes.flatMap(node => node.podCidrs.map(prefix => ({ prefix, node })))
  const sorted = claims.toSorted(byPrefix)
  return [...overlapping(sorted), ...overNodes(sorted, nodes)]
}

/** By first address, the wider one first: what overlaps a claim follows it directly. */
function byPrefix(a: Claim, b: Claim): number {
  return compareAddresses(a.prefix.address, b.prefix.address) || a.prefix.prefixLength - b.prefix.prefixLength
}

function overlapping(sorted: readonly Claim[]): readonly Refusal[] {
  const losers = new Map<Claim, Refusal>()
  // The claims that hold the current one: each is inside the one before it.
  let around: Claim[] = []
  for (const claim of sorted) {
    around = around.filter(outer => containsPrefix(outer.prefix, claim.prefix))
    for (const outer of around) {
      const [winner, loser] = isOlder(outer.node, claim.node) ? [outer, claim] : [claim, outer]
      if (!losers.has(loser))
        losers.set(
          loser,
          refusalOf(loser, `overlaps ${formatPrefix(winner.prefix)} of the older node ${winner.node.name}`),
        )
    }
    around.push(claim)
  }
  return [...losers.values()]
}

function isOlder(a: ClusterNode, b: ClusterNode): boolean {
  if (a.createdAtUnixMs !== b.createdAtUnixMs) return a.createdAtUnixMs < b.createdAtUnixMs
  return a.name < b.name
}

function overNodes(sorted: readonly Claim[], nodes: readonly ClusterNode[]): readonly Refusal[] {
  const held = nodes
    .flatMap(node => node.internalIps.map(address => ({ address, node })))
    .toSorted((a, b) => compareAddresses(a.address, b.address))
  const addresses = held.map(({ address }) => address)
  return sorted.flatMap(claim => {
    for (let at = firstAtLeast(addresses, claim.prefix.address); at < held.length; at++) {
      const found = held[at]
      if (found === undefined || !containsAddress(claim.prefix, found.address)) break
      // A younger node's address in it is that node's fault, and must not take an older one's pods off the network.
      if (found.node !== claim.node && isOlder(claim.node, found.node)) continue
      return [refusalOf(claim, `holds ${formatAddress(found.address)}, the address of the node ${found.node.name}`)]
    }
    return []
  })
}

/** Where the first address is that is not below `wanted`. */
function firstAtLeast(sorted: readonly Address[], wanted: Address): number {
  let low = 0
  let high = sorted.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const address = sorted[middle]
    if (address !== undefined && compareAddresses(address, wanted) < 0) low = middle + 1
    else high = middle
  }
  return low
}

function refusalOf({ node, prefix }: Claim, reason: string): Refusal {
  return { nodeName: node.name, prefix, reason: `pod CIDR ${formatPrefix(prefix)} ${reason}` }
}

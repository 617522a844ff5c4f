import type { Address, Family } from '../../lib/net/address.ts'
import { equalAddresses, formatAddress } from '../../lib/net/address.ts'
import { parseIfName, type IfName } from '../../lib/net/if-name.ts'
import type { Mac } from '../../lib/net/mac.ts'
import { outermost } from '../../lib/net/outermost.ts'
import { containsAddress, formatPrefix, hostPrefix, overlaps, type Prefix } from '../../lib/net/prefix.ts'
import { OVERLAY_IF_NAME, HOST_IF_NAME_PREFIX, LINK_GROUP } from '../../lib/plan/marks.ts'
import type { Forwarding, NodeLink, ObservedNode } from '../../lib/plan/node-kernel.ts'
import type { NodeRoute } from '../../lib/plan/node-operation.ts'
import { refusedClaims } from './claims.ts'
import { internalIpOf, overlayGatewayOf, overlayMacOf, type ClusterNode } from './cluster.ts'

/** How packets get to other nodes: by the network between them, in VXLAN, or whichever fits each of them. */
export type RoutingMode = 'direct' | 'vxlan' | 'auto'

export interface RoutingSettings {
  readonly mode: RoutingMode
  /** VXLAN network identifier. */
  readonly vni: number
  /** UDP port of VXLAN. */
  readonly port: number
  /** The overlay's MTU; derived from the device that holds the node's address when absent. */
  readonly mtuBytes?: number
}

/** Everything that is known: what the node should look like follows from it alone. */
export interface World {
  readonly nodeName: string
  readonly settings: RoutingSettings
  readonly nodes: readonly ClusterNode[]
  /** The node's links and addresses. */
  readonly observed: Pick<ObservedNode, 'links' | 'addresses'>
}

/** The node's VXLAN device with everything that hangs on it. */
export interface DesiredOverlay {
  readonly link: IfName
  readonly mac: Mac
  readonly vni: number
  readonly port: number
  readonly local: Address
  readonly mtuBytes: number
  /** What this node's own packets to pods carry as their source: replies come back through the overlay. */
  readonly addresses: readonly Prefix[]
  readonly forwarding: readonly Forwarding[]
  readonly neighbours: readonly { readonly address: Address; readonly mac: Mac }[]
}

/** Something that keeps packets from a node's pods, for a person. */
export interface RoutingProblem {
  /** The node whose pods cannot be reached; this node's own name when it is about this node. */
  readonly nodeName: string
  readonly reason: string
}

export interface DesiredNode {
  /** Where packets of pods keep their source: the nodes and their pods. No two overlap. */
  readonly exempt: readonly Prefix[]
  /** This node's own pod CIDRs that nothing speaks against; empty until the cluster gave it some. */
  readonly podCidrs: readonly Prefix[]
  readonly overlay?: DesiredOverlay
  readonly routes: readonly NodeRoute[]
  readonly problems: readonly RoutingProblem[]
}

/** What VXLAN adds to a packet: outer Ethernet, IP, UDP and VXLAN headers (RFC 7348, section 5). */
const OVERHEAD_BYTES: Readonly<Record<Family, number>> = { 4: 50, 6: 70 }

export const OVERLAY_LINK: IfName = parseIfName(OVERLAY_IF_NAME)

/**
 * How the node should look, given everything that is known. What cannot be reached safely gets no route and a reason (checklist
 * R30, R31): a wrong route is worse than none.
 */
export function desiredNode(world: World): DesiredNode {
  const { nodeName, nodes } = world
  const self = nodes.find(({ name }) => name === nodeName)
  if (self === undefined) return nothing(nodeName, 'the cluster has no Node object of this name')
  const refused = new Map(
    refusedClaims(nodes).map(refusal => [claimKey(refusal.nodeName, refusal.prefix), refusal.reason]),
  )
  const problems: RoutingProblem[] = [...refused].map(([key, reason]) => ({
    nodeName: key.slice(0, key.indexOf(' ')),
    reason,
  }))
  const podCidrs = self.podCidrs.filter(prefix => !refused.has(claimKey(nodeName, prefix)))
  if (self.fault !== undefined) problems.push({ nodeName, reason: self.fault })
  if (self.podCidrs.length === 0) problems.push({ nodeName, reason: 'the cluster has given this node no pod CIDR' })

  const accepted = nodes.flatMap(node => node.podCidrs.filter(prefix => !refused.has(claimKey(node.name, prefix))))
  const exempt = outermost([...accepted, ...nodes.flatMap(node => node.internalIps.map(hostPrefix))])
  const uplinks = uplinkAddresses(world.observed)
  const underlay = underlayOf(self, world)
  const parts = nodes
    .filter(({ name }) => name !== nodeName)
    .map(peer => {
      const claims = peer.podCidrs.filter(prefix => !refused.has(claimKey(peer.name, prefix)))
      return peerPart(peer, { claims, uplinks, underlay, world })
    })
  for (const part of parts) problems.push(...part.problems)
  const overlayPeers = parts.flatMap(({ overlay }) => (overlay === undefined ? [] : [overlay]))
  const routes = parts.flatMap(part => part.routes)
  if (underlay.kind !== 'usable' || !wantsOverlay(world.settings.mode, overlayPeers))
    return { exempt, podCidrs, routes, problems }
  const { local, mtuBytes } = underlay
  return {
    exempt,
    podCidrs,
    routes,
    problems,
    overlay: overlayOf(overlayPeers, { nodeName, podCidrs, local, mtuBytes, world }),
  }
}

function nothing(nodeName: string, reason: string): DesiredNode {
  return { exempt: [], podCidrs: [], routes: [], problems: [{ nodeName, reason }] }
}

function claimKey(nodeName: string, prefix: Prefix): string {
  return `${nodeName} ${formatPrefix(prefix)}`
}

/** In 'auto' the device is made when the first node needs it. */
function wantsOverlay(mode: RoutingMode, peers: readonly OverlayPeer[]): boolean {
  return mode === 'vxlan' || (mode === 'auto' && peers.length > 0)
}

interface Uplink {
  readonly link: NodeLink
  readonly address: Address
  /** What is on the same link. */
  readonly onLink: Prefix
}

/** The addresses through which other nodes may be on the same link: not those of pods, of the overlay and of loopback. */
function uplinkAddresses({ links, addresses }: World['observed']): readonly Uplink[] {
  const usable = new Map(links.filter(isUplink).map(link => [link.index, link]))
  return addresses.flatMap(({ linkIndex, address }) => {
    const link = usable.get(linkIndex)
    return link === undefined ? [] : [{ link, address: address.address, onLink: networkOf(address) }]
  })
}

function isUplink(link: NodeLink): boolean {
  return link.isUp && link.name !== 'lo' && link.group !== LINK_GROUP && !link.name.startsWith(HOST_IF_NAME_PREFIX)
}

function networkOf({ address, prefixLength }: { readonly address: Address; readonly prefixLength: number }): Prefix {
  const hostBits = BigInt((address.family === 4 ? 32 : 128) - prefixLength)
  return { address: { family: address.family, value: (address.value >> hostBits) << hostBits }, prefixLength }
}

type Underlay =
  | { readonly kind: 'usable'; readonly local: Address; readonly mtuBytes: number }
  | { readonly kind: 'unusable'; readonly reason: string }

/** Where the overlay's packets leave from. IPv4 where the node has it: an overlay has one family, whatever it carries. */
function underlayOf(self: ClusterNode, { observed, settings }: World): Underlay {
  const local = internalIpOf(self, 4) ?? internalIpOf(self, 6)
  if (local === undefined) return { kind: 'unusable', reason: 'this node has no InternalIP' }
  const held = observed.addresses.find(({ address }) => equalAddresses(address.address, local))
  const link = observed.links.find(({ index }) => index === held?.linkIndex)
  if (link === undefined) {
    return { kind: 'unusable', reason: `this node's InternalIP ${formatAddress(local)} is on none of its links` }
  }
  const mtuBytes = settings.mtuBytes ?? derivedMtu(link, local.family)
  if (mtuBytes !== undefined) return { kind: 'usable', local, mtuBytes }
  const why = `this node's InternalIP ${formatAddress(local)} is on ${link.name}, which tells no MTU`
  return { kind: 'unusable', reason: `${why}: want routing.mtuBytes in the configuration` }
}

function derivedMtu(link: NodeLink, family: Family): number | undefined {
  return link.name === 'lo' ? undefined : link.mtuBytes - OVERHEAD_BYTES[family]
}

interface OverlayPeer {
  readonly mac: Mac
  readonly to: Address
  readonly neighbours: readonly Address[]
}

interface PeerPart {
  readonly routes: readonly NodeRoute[]
  readonly problems: readonly RoutingProblem[]
  readonly overlay?: OverlayPeer
}

interface PeerContext {
  /** Its pod CIDRs that nothing speaks against. */
  readonly claims: readonly Prefix[]
  readonly uplinks: readonly Uplink[]
  readonly underlay: Underlay
  readonly world: World
}

function peerPart(peer: ClusterNode, context: PeerContext): PeerPart {
  const routes: NodeRoute[] = []
  const problems: RoutingProblem[] = []
  const neighbours: Address[] = []
  if (peer.fault !== undefined) problems.push({ nodeName: peer.name, reason: peer.fault })
  for (const prefix of context.claims) {
    const route = routeTo(prefix, peer, context)
    if (typeof route === 'string') {
      problems.push({ nodeName: peer.name, reason: `no route to ${formatPrefix(prefix)}: ${route}` })
      continue
    }
    routes.push(route)
    if (route.link === OVERLAY_LINK) neighbours.push(route.via)
  }
  const to = context.underlay.kind === 'usable' ? internalIpOf(peer, context.underlay.local.family) : undefined
  if (neighbours.length === 0 || to === undefined) return { routes, problems }
  return { routes, problems, overlay: { mac: overlayMacOf(peer.name), to, neighbours } }
}

/** The route to `prefix`, or why there is none. */
function routeTo(prefix: Prefix, peer: ClusterNode, { uplinks, underlay, world }: PeerContext): NodeRoute | string {
  const { mode } = world.settings
  const hidden = uplinks.find(({ onLink }) => overlaps(onLink, prefix))
  if (hidden !== undefined) return `it overlaps ${formatPrefix(hidden.onLink)}, which is on ${hidden.link.name} here`
  const nextHop = internalIpOf(peer, prefix.address.family)
  const direct = mode === 'vxlan' ? undefined : directRoute(prefix, nextHop, uplinks)
  if (direct !== undefined) return direct
  if (mode === 'direct') {
    if (nextHop === undefined) return `the node has no IPv${prefix.address.family} InternalIP`
    return `the node's InternalIP ${formatAddress(nextHop)} is on no link of this node, and routing.mode is direct`
  }
  if (underlay.kind === 'unusable') return underlay.reason
  if (internalIpOf(peer, underlay.local.family) === undefined) {
    return `the node has no IPv${underlay.local.family} InternalIP, which the overlay would send to`
  }
  return prefix.address.family === 4
    ? { to: prefix, via: prefix.address, link: OVERLAY_LINK, isOnLink: true }
    : { to: prefix, via: overlayGatewayOf(overlayMacOf(peer.name)), link: OVERLAY_LINK, isOnLink: false }
}

function directRoute(prefix: Prefix, nextHop: Address | undefined, uplinks: readonly Uplink[]): NodeRoute | undefined {
  if (nextHop === undefined) return undefined
  const onSameLink = uplinks.filter(({ onLink }) => containsAddress(onLink, nextHop))
  if (onSameLink.some(({ address }) => equalAddresses(address, nextHop))) return undefined
  const [narrowest] = onSameLink.toSorted((a, b) => b.onLink.prefixLength - a.onLink.prefixLength)
  return narrowest && { to: prefix, via: nextHop, link: narrowest.link.name, isOnLink: false }
}

interface OverlayContext {
  readonly nodeName: string
  readonly podCidrs: readonly Prefix[]
  readonly local: Address
  readonly mtuBytes: number
  readonly world: World
}

function overlayOf(peers: readonly OverlayPeer[], context: OverlayContext): DesiredOverlay {
  const { nodeName, podCidrs, local, mtuBytes, world } = context
  return {
    link: OVERLAY_LINK,
    mac: overlayMacOf(nodeName),
    vni: world.settings.vni,
    port: world.settings.port,
    local,
    mtuBytes,
    // The first address of the block, which no pod gets.
    addresses: podCidrs.map(({ address }) => hostPrefix(address)),
    forwarding: peers.map(({ mac, to }) => ({ mac, to })),
    neighbours: peers.flatMap(({ mac, neighbours }) => neighbours.map(address => ({ address, mac }))),
  }
}

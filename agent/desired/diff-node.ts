import { equalAddresses, formatAddress } from '../../lib/net/address.ts'
import { equalPrefixes, formatPrefix } from '../../lib/net/prefix.ts'
import { LINK_GROUP, NODE_ROUTE_METRIC, NODE_ROUTE_PROTOCOL } from '../../lib/plan/marks.ts'
import type { MainRoute, NodeLink, ObservedNode } from '../../lib/plan/node-kernel.ts'
import type { NodeOperation, NodeRoute } from '../../lib/plan/node-operation.ts'
import { OVERLAY_LINK, type DesiredNode, type DesiredOverlay } from './desired.ts'

/** What brings the node from what is there to what is wanted. */
export interface NodeDiff {
  readonly operations: readonly NodeOperation[]
  /** What of others is in the way, for a person. It is not touched (invariant 4). */
  readonly obstacles: readonly string[]
}

/**
 * Compares, and says what to do: first the way for packets is made, then the routes, then what is no longer wanted goes. What
 * carries our mark and is wanted no more goes too, whoever left it there (checklist R28).
 */
export function diffNode(desired: DesiredNode, observed: ObservedNode): NodeDiff {
  const found = observed.links.find(link => link.name === OVERLAY_LINK)
  if (found !== undefined && !isOurs(found)) {
    const obstacle = `a link called ${OVERLAY_LINK} is not ours (${found.kind ?? 'no VXLAN'}, group ${found.group})`
    const direct = { ...desired, routes: desired.routes.filter(({ link }) => link !== OVERLAY_LINK) }
    return {
      operations: routeChanges(direct, observed, undefined),
      obstacles: [obstacle, ...shadows(desired, observed)],
    }
  }
  const keeps = found !== undefined && desired.overlay !== undefined && isMadeAs(found, desired.overlay)
  const kept = keeps ? found : undefined
  const gone = found === undefined || keeps ? [] : [{ do: 'delete-link', at: 'host', link: OVERLAY_LINK } as const]
  const state: ObservedNode = kept === undefined ? { ...observed, neighbours: [], forwarding: [] } : observed
  const lost = keeps ? undefined : found?.index
  const operations = [
    // A device that is made anew takes the name of the old one; one that is wanted no more goes when no route needs it.
    ...(desired.overlay === undefined ? [] : [...gone, ...overlayChanges(desired.overlay, state, kept)]),
    ...routeChanges(desired, observed, lost),
    ...(desired.overlay === undefined ? gone : overlayRemovals(desired.overlay, state, kept)),
  ]
  return { operations, obstacles: shadows(desired, observed) }
}

function isOurs(link: NodeLink): boolean {
  return link.group === LINK_GROUP && link.kind === 'vxlan'
}

/** What cannot be changed once a device is there. */
function isMadeAs({ mac, vxlan }: NodeLink, overlay: DesiredOverlay): boolean {
  return (
    mac === overlay.mac &&
    vxlan !== undefined &&
    vxlan.vni === overlay.vni &&
    vxlan.port === overlay.port &&
    !vxlan.learns &&
    vxlan.local !== undefined &&
    equalAddresses(vxlan.local, overlay.local)
  )
}

function overlayChanges(
  overlay: DesiredOverlay,
  observed: ObservedNode,
  kept: NodeLink | undefined,
): readonly NodeOperation[] {
  const { link } = overlay
  const held = kept === undefined ? [] : addressesOn(kept, observed)
  const forwarding = new Map(observed.forwarding.map(({ mac, to }) => [mac, to]))
  const neighbours = new Map(
    observed.neighbours
      .filter(({ isPermanent }) => isPermanent)
      .map(({ address, mac }) => [formatAddress(address), mac]),
  )
  return [
    ...deviceChanges(overlay, kept),
    ...overlay.addresses
      .filter(prefix => !held.includes(formatPrefix(prefix)))
      .map(address => ({ do: 'add-address', at: 'host', link, address }) as const),
    ...overlay.forwarding
      .filter(({ mac, to }) => {
        const there = forwarding.get(mac)
        return there === undefined || !equalAddresses(there, to)
      })
      .map(({ mac, to }) => ({ do: 'set-forwarding', link, mac, to }) as const),
    ...overlay.neighbours
      .filter(({ address, mac }) => neighbours.get(formatAddress(address)) !== mac)
      .map(({ address, mac }) => ({ do: 'set-neighbour', at: 'host', link, address, mac }) as const),
  ]
}

function deviceChanges(overlay: DesiredOverlay, kept: NodeLink | undefined): readonly NodeOperation[] {
  const { link, mac, vni, port, local, mtuBytes } = overlay
  const up = { do: 'set-link', at: 'host', link, up: true } as const
  if (kept === undefined) {
    return [
      { do: 'add-vxlan', link, mac, vni, port, local, mtuBytes },
      { do: 'disable-link-local', at: 'host', link },
      up,
    ]
  }
  return [
    ...(kept.mtuBytes === mtuBytes ? [] : [{ do: 'set-mtu', link, mtuBytes } as const]),
    ...(kept.isUp ? [] : [up]),
  ]
}

function overlayRemovals(
  overlay: DesiredOverlay,
  observed: ObservedNode,
  kept: NodeLink | undefined,
): readonly NodeOperation[] {
  if (kept === undefined) return []
  const { link } = overlay
  const macs = new Set(overlay.forwarding.map(({ mac }) => mac))
  const neighbours = new Set(overlay.neighbours.map(({ address }) => formatAddress(address)))
  const addresses = new Set(overlay.addresses.map(formatPrefix))
  return [
    // Only what lasts: what the kernel made on its own (a multicast group) goes by itself, and some of it cannot be removed.
    ...observed.neighbours
      .filter(({ address, isPermanent }) => isPermanent && !neighbours.has(formatAddress(address)))
      .map(({ address }) => ({ do: 'delete-neighbour', at: 'host', link, address }) as const),
    ...observed.forwarding
      .filter(({ mac }) => !macs.has(mac))
      .map(({ mac }) => ({ do: 'delete-forwarding', link, mac }) as const),
    ...observed.addresses
      .filter(({ linkIndex, address }) => linkIndex === kept.index && !addresses.has(formatPrefix(address)))
      .map(({ address }) => ({ do: 'delete-address', at: 'host', link, address }) as const),
  ]
}

function addressesOn(link: NodeLink, { addresses }: ObservedNode): readonly string[] {
  return addresses.filter(({ linkIndex }) => linkIndex === link.index).map(({ address }) => formatPrefix(address))
}

/** @param lost the index of a link that goes, and its routes with it. */
function routeChanges(
  desired: DesiredNode,
  observed: ObservedNode,
  lost: number | undefined,
): readonly NodeOperation[] {
  const names = new Map(observed.links.map(({ index, name }) => [index, name]))
  const ours = new Map(observed.routes.filter(isOurRoute).map(route => [formatPrefix(route.to), route] as const))
  const wanted = new Set(desired.routes.map(({ to }) => formatPrefix(to)))
  const operations: NodeOperation[] = []
  for (const route of desired.routes) {
    const there = ours.get(formatPrefix(route.to))
    if (there === undefined || (lost !== undefined && there.linkIndex === lost && desired.overlay !== undefined))
      operations.push({ do: 'add-node-route', ...route })
    else if (!leadsAs(there, route, names)) operations.push({ do: 'change-node-route', ...route })
  }
  for (const [text, { to, linkIndex }] of ours) {
    if (wanted.has(text) || (lost !== undefined && linkIndex === lost)) continue
    operations.push({ do: 'delete-node-route', to })
  }
  return operations
}

function isOurRoute({ protocol, metric }: MainRoute): boolean {
  return protocol === NODE_ROUTE_PROTOCOL && metric === NODE_ROUTE_METRIC
}

function leadsAs(there: MainRoute, want: NodeRoute, names: ReadonlyMap<number, string>): boolean {
  return (
    there.linkIndex !== undefined &&
    names.get(there.linkIndex) === want.link &&
    there.via !== undefined &&
    equalAddresses(there.via, want.via)
  )
}

/** Routes of others to the very prefixes of ours that the kernel prefers: packets go their way. */
function shadows(desired: DesiredNode, observed: ObservedNode): readonly string[] {
  const others = new Map<string, MainRoute>()
  for (const route of observed.routes) {
    if (!isOurRoute(route) && route.metric < NODE_ROUTE_METRIC) others.set(formatPrefix(route.to), route)
  }
  return desired.routes.flatMap(({ to }) => {
    const other = others.get(formatPrefix(to))
    if (other === undefined || !equalPrefixes(other.to, to)) return []
    return [`a route to ${formatPrefix(to)} of protocol ${other.protocol} with metric ${other.metric} goes before ours`]
  })
}

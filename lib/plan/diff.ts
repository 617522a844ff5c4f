import { equalAddresses, formatAddress } from '../net/address.ts'
import { equalPrefixes, formatPrefix } from '../net/prefix.ts'
import { LINK_GROUP, ROUTE_PROTOCOL } from './marks.ts'
import {
  settingKey,
  type ObservedInterface,
  type ObservedLink,
  type ObservedRoute,
  type ObservedState,
} from './observed.ts'
import { renderElement } from './nft-set.ts'
import {
  placeOf,
  type AddBridge,
  type AddElements,
  type AddForwarding,
  type AddIfb,
  type AddRoute,
  type AddShaper,
  type AddVeth,
  type Operation,
  type Plan,
  type RedirectIngress,
  type SetBridgePort,
  type SetLink,
  type SetNeighbour,
} from './operation.ts'
import { renderOperation } from './render.ts'

/** One thing that is not as a plan made it. */
export interface Problem {
  /** What the plan did that no longer holds. */
  readonly operation: Operation
  /** What was found instead, for a person. */
  readonly found: string
}

/** Renders `problem` as one line: what was found, and the command that would have made it right. */
export function renderProblem(problem: Problem): string {
  return `${placeOf(problem.operation)}: ${problem.found} (want: ${renderOperation(problem.operation).replace(/^\w+: +/, '')})`
}

/**
 * Compares what `plan` made with what is `observed`.
 *
 * Extra addresses, routes and neighbours are no problem: a later plugin in the chain may have added them (SPEC 1.1.0,
 * section 2, CHECK; checklist K4). Absence never throws: it is a problem. A link that is gone is reported once, not again
 * for everything that hung on it.
 *
 * @returns Every problem, in the order of the plan; empty means that all of it still holds.
 */
export function diffPlan(plan: Plan, observed: ObservedState): readonly Problem[] {
  return plan.flatMap((operation, index) => {
    const wanted = withoutReplaced(operation, plan.slice(index + 1))
    const found = whatIsWrong(wanted, observed)
    return found === undefined ? [] : [{ operation: wanted, found }]
  })
}

/** An alias that a later operation of the plan replaces is not expected to be there at its end. */
function withoutReplaced(operation: Operation, later: Plan): Operation {
  if (operation.do !== 'set-link' || operation.alias === undefined) return operation
  const isReplaced = later.some(
    next => next.do === 'set-link' && next.alias !== undefined && next.link === operation.link,
  )
  if (!isReplaced) return operation
  const { alias: _replaced, ...rest } = operation
  return rest
}

function whatIsWrong(operation: Operation, observed: ObservedState): string | undefined {
  if (operation.do === 'add-veth') return wrongVeth(operation, observed)
  if (operation.do === 'add-bridge') return wrongBridge(operation, observed)
  if (operation.do === 'add-ifb') return wrongIfb(operation, observed)
  if (operation.do === 'set-link' && operation.link === 'lo') return wrongLoopback(observed)
  if (operation.do === 'add-elements') return missingElements(operation, observed)
  const on = interfaceOf(operation, observed)
  if (on === undefined) return undefined // reported once, by the operation that made the link
  switch (operation.do) {
    case 'set-link':
      return wrongLink(operation, on)
    case 'add-bridge-port': {
      const { port } = on.link
      if (port === undefined) return `${on.link.name} is no port of a bridge`
      return port.bridgeIndex === observed.bridge?.link.index
        ? undefined
        : `${on.link.name} is a port of another bridge`
    }
    case 'add-forwarding':
      return wrongForwarding(operation, on)
    case 'set-bridge-port':
      return wrongPort(operation, on.link)
    case 'add-shaper':
      return wrongShaper(operation, observed)
    case 'redirect-ingress':
      return wrongRedirect(operation, observed)
    case 'disable-link-local':
      return on.link.hasNoLinkLocal ? undefined : `${on.link.name} makes link-local addresses of its own`
    case 'set-sysctl': {
      const value = observed.settings.get(settingKey(operation.at, operation.key))
      return value === operation.value ? undefined : `${operation.key} is ${value ?? 'not readable'}`
    }
    case 'add-address': {
      const want = formatPrefix(operation.address)
      const held = on.addresses.find(held => formatPrefix(held.address) === want)
      if (held === undefined) return `${on.link.name} has no address ${want}`
      return held.isTentative ? `address ${want} is still tentative` : undefined
    }
    case 'set-neighbour':
      return wrongNeighbour(operation, on)
    case 'add-route':
      return wrongRoute(operation, on)
    case 'delete-link':
    case 'delete-address':
    case 'delete-neighbour':
    case 'delete-route':
    case 'add-unreachable':
    case 'delete-unreachable':
    case 'delete-elements':
    case 'forget-flows':
      return undefined
  }
}

function interfaceOf(operation: Operation, observed: ObservedState): ObservedInterface | undefined {
  if (placeOf(operation) === 'pod') return observed.pod
  const { host, bridge, ifb } = observed
  if (!('link' in operation)) return host
  return [host, bridge, ifb].find(each => each?.link.name === operation.link)
}

function wrongBridge({ link }: AddBridge, { bridge }: ObservedState): string | undefined {
  if (bridge === undefined) return `link ${link} is missing`
  return bridge.link.kind === 'bridge' ? undefined : `${link} is no bridge`
}

function wrongIfb({ link }: AddIfb, { ifb }: ObservedState): string | undefined {
  if (ifb === undefined) return `link ${link} is missing`
  if (ifb.link.kind !== 'ifb') return `${link} is no ifb`
  return ifb.link.group === LINK_GROUP ? undefined : `${link} is in group ${ifb.link.group}`
}

function wrongShaper(want: AddShaper, { shaping }: ObservedState): string | undefined {
  const shaper = shaping?.get(want.link)?.shaper
  if (shaper === undefined) return `${want.link} does not shape what leaves it (tbf)`
  if (shaper.bytesPerSecond !== want.bytesPerSecond) return `${want.link} shapes to ${shaper.bytesPerSecond * 8} bits/s`
  // The burst is part of the limit, and cannot be read by itself.
  return shaper.limitBytes === want.limitBytes ? undefined : `${want.link} lets ${shaper.limitBytes} bytes wait`
}

function wrongRedirect({ link, to }: RedirectIngress, { shaping, ifb }: ObservedState): string | undefined {
  if (ifb === undefined) return undefined // reported once, by the operation that made the link
  const index = shaping?.get(link)?.redirectsTo
  return index === ifb.link.index ? undefined : `${link} does not lead what arrives through ${to}`
}

function wrongForwarding({ mac }: AddForwarding, { link, allowedMacs }: ObservedInterface): string | undefined {
  return allowedMacs?.includes(mac) ? undefined : `${link.name} takes no frames from ${mac}`
}

function wrongPort(want: SetBridgePort, { name, port }: ObservedLink): string | undefined {
  if (want.hairpin && !port?.isHairpin) return `${name} does not send frames back (hairpin)`
  if (want.isolated && !port?.isIsolated) return `${name} is not isolated`
  return want.locked && !port?.isLocked ? `${name} takes frames from any address` : undefined
}

/** In words, which elements are missing. */
function missingElements({ elements }: AddElements, observed: ObservedState): string | undefined {
  const held = new Set(observed.elements?.map(element => `${element.set.name} ${renderElement(element)}`))
  const missing = elements.filter(element => !held.has(`${element.set.name} ${renderElement(element)}`))
  if (missing.length === 0) return undefined
  return `nftables lacks ${missing.map(element => `${element.set.name} { ${renderElement(element)} }`).join(', ')}`
}

function wrongVeth(veth: AddVeth, { host, pod }: ObservedState): string | undefined {
  if (host === undefined) return `link ${veth.hostIfName} is missing`
  if (pod === undefined) return `link ${veth.podIfName} is missing in the pod`
  if (host.link.peerIndex !== pod.link.index) return `${veth.hostIfName} and ${veth.podIfName} are not a pair`
  if (host.link.group !== LINK_GROUP) return `${veth.hostIfName} is in group ${host.link.group}`
  return (
    wrongEnd(host.link, { mac: veth.hostMac, mtuBytes: veth.hostMtuBytes }) ??
    wrongEnd(pod.link, { mac: veth.podMac, mtuBytes: veth.podMtuBytes })
  )
}

function wrongEnd(link: ObservedLink, want: Pick<ObservedLink, 'mac' | 'mtuBytes'>): string | undefined {
  if (link.mac !== want.mac) return `${link.name} has the hardware address ${link.mac ?? 'none'}`
  return link.mtuBytes === want.mtuBytes ? undefined : `${link.name} has an MTU of ${link.mtuBytes}`
}

function wrongLoopback({ podLoopback }: ObservedState): string | undefined {
  if (podLoopback === undefined) return 'link lo is missing'
  return podLoopback.isUp ? undefined : 'lo is down'
}

function wrongLink(want: SetLink, { link }: ObservedInterface): string | undefined {
  if (want.up && !link.isUp) return `${link.name} is down`
  if (want.promiscuous && !link.isPromiscuous) return `${link.name} is not promiscuous`
  if (want.alias !== undefined && link.alias !== want.alias) return `${link.name} has the alias '${link.alias ?? ''}'`
  return undefined
}

function wrongNeighbour(want: SetNeighbour, { link, neighbours }: ObservedInterface): string | undefined {
  const entry = neighbours.find(entry => equalAddresses(entry.address, want.address))
  const who = `neighbour ${formatAddress(want.address)} on ${link.name}`
  // The kernel drops all neighbours of a link whose hardware address changes. The pod asks for its gateway then, and the host
  // answers: its end has the gateway's addresses (K4).
  if (entry === undefined) return want.at === 'pod' ? undefined : `${who} is missing`
  if (entry.mac !== want.mac) return `${who} is ${entry.mac ?? 'unresolved'}`
  return want.isLearnable && entry.isPermanent ? `${who} is permanent` : undefined
}

function wrongRoute(want: AddRoute, { link, routes }: ObservedInterface): string | undefined {
  const to = `route to ${formatPrefix(want.to)} through ${link.name}`
  const found = routes.filter(route => equalPrefixes(route.to, want.to))
  // Ours may be one of several to the same prefix: others with another metric are a later plugin's business (K4).
  const [wrong, ...others] = found.map(route => wrongNextHop(want, route))
  if (found.length === 0) return `${to} is missing`
  return wrong === undefined || others.includes(undefined) ? undefined : `${to} ${wrong}`
}

function wrongNextHop(want: AddRoute, route: ObservedRoute): string | undefined {
  const via = route.via === undefined ? undefined : formatAddress(route.via)
  const wantVia = want.via === undefined ? undefined : formatAddress(want.via)
  if (via !== wantVia) return `goes ${via === undefined ? 'on-link' : `via ${via}`}`
  if (want.at === 'host' && route.protocol !== ROUTE_PROTOCOL) return `has protocol ${route.protocol}`
  return undefined
}

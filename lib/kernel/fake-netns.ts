import { equalAddresses, type Address } from '../net/address.ts'
import { parseIfName, type IfName } from '../net/if-name.ts'
import { linkLocalOf } from '../net/link-local.ts'
import { parseMac, type Mac } from '../net/mac.ts'
import {
  containsAddress,
  equalPrefixes,
  formatPrefix,
  parseAddressWithLength,
  parsePrefix,
  prefixOf,
  type AddressWithLength,
  type Prefix,
} from '../net/prefix.ts'
import type { AttachmentKey } from '../ipam/attachment.ts'
import { chainOf, renderKey, type Element, type ObservedElement } from '../plan/nft-set.ts'
import type {
  ObservedAddress,
  ObservedLink,
  ObservedNeighbour,
  ObservedPort,
  ObservedRoute,
  ObservedShaping,
} from '../plan/observed.ts'
import type { HostUdpPort, SetNeighbour, Shaper } from '../plan/operation.ts'

/** Below this MTU the kernel gives a link no IPv6 at all (RFC 8200, section 5). */
const IPV6_MIN_MTU_BYTES = 1280
const RTPROT_KERNEL = 2
const LINK_LOCAL = parsePrefix('fe80::/10')
const LOOPBACK_ADDRESSES = ['127.0.0.1/8', '::1/128'].map(parseAddressWithLength)

/** What every interface has for itself, by the folder below /proc/sys/net; new ones start with what `default` says. */
const INTERFACE_SETTINGS = {
  ipv4: { rp_filter: '0', accept_redirects: '1', arp_notify: '0', route_localnet: '0' },
  ipv6: { accept_ra: '1', accept_redirects: '1', ndisc_notify: '0', disable_ipv6: '0' },
} as const
/** The same below `neigh`, not `conf`. */
const NEIGHBOUR_SETTINGS = { base_reachable_time_ms: '30000' } as const
const NODE_SETTINGS = { 'net/ipv4/ip_forward': '0', 'net/ipv6/conf/all/forwarding': '0' } as const

/** A link of a FakeNetns. A test may change any of it, as somebody else on the node could. */
export interface FakeLink {
  readonly index: number
  readonly name: IfName
  readonly kind?: string
  mac: Mac
  mtuBytes: number
  isUp: boolean
  group: number
  alias?: string
  hasNoLinkLocal: boolean
  /** The other end of a veth pair. */
  peer?: { readonly netns: FakeNetns; readonly link: FakeLink }
  addresses: ObservedAddress[]
  neighbours: ObservedNeighbour[]
  isPromiscuous?: boolean
  port?: ObservedPort
  /** How packets are shaped that leave it. */
  shaper?: ObservedShaping['shaper']
  /** Where packets are led that arrive at it; a link that is gone is not followed. */
  ingress?: { readonly to: FakeLink }
  /** Of a port of a bridge: the addresses that it was told to take frames from. */
  allowedMacs?: readonly Mac[]
}

/** A route of the main table; without a link it refuses packets (unreachable). */
export interface FakeRoute extends ObservedRoute {
  readonly link?: FakeLink
}

/** What a new link is; the rest is as the kernel makes it. */
export interface NewLink {
  readonly name: IfName
  readonly mac: Mac
  readonly mtuBytes: number
  readonly group?: number
  readonly kind?: string
}

/** A neighbour entry as it is set. */
export type NewNeighbour = Pick<SetNeighbour, 'address' | 'mac' | 'isLearnable'>

/**
 * A network namespace in memory: what of the kernel's network state Tulle reads and changes, with the kernel's errors.
 *
 * The methods that change something return the name of the errno, or undefined when it was done.
 */
export class FakeNetns {
  readonly hasIpv6: boolean
  readonly links: FakeLink[] = []
  routes: FakeRoute[] = []
  /** By path below /proc/sys. */
  readonly sysctls = new Map<string, string>()
  /** The comments of the rules of each chain of our nftables table. */
  readonly chains = new Map<string, readonly string[]>()
  /** The sets of our nftables table with their elements, by key. */
  readonly sets = new Map<string, Map<string, ObservedElement>>()
  /** The prefixes of the interval sets of our nftables table. */
  readonly prefixSets = new Map<string, readonly Prefix[]>()
  /** Changes that all tables have seen. */
  nftGeneration = 1
  /** UDP ports of the node of which the flows were forgotten, in order. */
  readonly forgotten: HostUdpPort[] = []
  #lastIndex = 0

  constructor({ hasIpv6 = true }: { readonly hasIpv6?: boolean } = {}) {
    this.hasIpv6 = hasIpv6
    for (const [key, value] of Object.entries(NODE_SETTINGS)) this.#addSetting(key, value)
    for (const scope of ['all', 'default']) {
      for (const [family, settings] of Object.entries(INTERFACE_SETTINGS)) {
        for (const [name, value] of Object.entries(settings))
          this.#addSetting(`net/${family}/conf/${scope}/${name}`, value)
      }
    }
    this.addLink({ name: parseIfName('lo'), mac: parseMac('00:00:00:00:00:00'), mtuBytes: 65536 })
  }

  link(name: IfName): FakeLink | undefined {
    return this.links.find(link => link.name === name)
  }

  /** @returns The new link, or the errno. */
  addLink(link: NewLink): FakeLink | 'EEXIST' | 'EINVAL' {
    if (this.link(link.name) !== undefined) return 'EEXIST'
    if (link.kind !== undefined && (link.mtuBytes < 68 || link.mtuBytes > 65535)) return 'EINVAL'
    const added: FakeLink = {
      ...link,
      index: ++this.#lastIndex,
      group: link.group ?? 0,
      isUp: false,
      hasNoLinkLocal: false,
      addresses: [],
      neighbours: [],
    }
    this.links.push(added)
    this.#addSettings(added)
    return added
  }

  /** Makes `link` a port of `bridge`, which then has the smallest MTU of its ports. */
  addPort(link: FakeLink, bridge: FakeLink | undefined): string | undefined {
    if (bridge === undefined) return 'ENODEV'
    if (bridge.kind !== 'bridge') return 'EOPNOTSUPP'
    link.port = { bridgeIndex: bridge.index, isHairpin: false, isIsolated: false, isLocked: false }
    bridge.mtuBytes = Math.min(
      ...this.links.filter(({ port }) => port?.bridgeIndex === bridge.index).map(({ mtuBytes }) => mtuBytes),
    )
    return undefined
  }

  setPort(link: FakeLink, change: Partial<ObservedPort>): string | undefined {
    if (link.port === undefined) return 'EOPNOTSUPP'
    link.port = { ...link.port, ...change }
    return undefined
  }

  allowMac(link: FakeLink, mac: Mac): string | undefined {
    if (link.port === undefined) return 'EOPNOTSUPP'
    const allowed = link.allowedMacs ?? []
    if (allowed.includes(mac)) return 'EEXIST'
    link.allowedMacs = [...allowed, mac]
    return undefined
  }

  /** Removes a link with all that hangs on it, and its peer. */
  deleteLink(link: FakeLink): string | undefined {
    if (link.name === 'lo') return 'EOPNOTSUPP'
    this.links.splice(this.links.indexOf(link), 1)
    for (const port of this.links) if (port.port?.bridgeIndex === link.index) delete port.port
    this.routes = this.routes.filter(route => route.link !== link)
    for (const key of this.sysctls.keys()) if (key.split('/')[3] === link.name) this.sysctls.delete(key)
    const { peer } = link
    delete link.peer
    // The other end may have gone first, or be going now.
    if (peer?.netns.links.includes(peer.link)) peer.netns.deleteLink(peer.link)
    return undefined
  }

  setUp(link: FakeLink): void {
    if (link.isUp) return
    link.isUp = true
    this.#makeOwnAddresses(link)
    if (link.peer !== undefined) link.peer.netns.#makeOwnAddresses(link.peer.link)
  }

  setAlias(link: FakeLink, alias: string): string | undefined {
    // IFALIASZ is 256, with a NUL.
    if (new TextEncoder().encode(alias).length > 255) return 'ERANGE'
    link.alias = alias
    return undefined
  }

  disableLinkLocal(link: FakeLink): string | undefined {
    if (!this.#hasIpv6(link)) return 'EAFNOSUPPORT'
    link.hasNoLinkLocal = true
    return undefined
  }

  setSysctl(key: string, value: string): string | undefined {
    if (!this.sysctls.has(key)) return 'ENOENT'
    if (!/^-?\d+$/.test(value)) return 'EINVAL'
    this.sysctls.set(key, value)
    const link = this.links.find(({ name }) => key === `net/ipv6/conf/${name}/disable_ipv6`)
    if (link !== undefined && value === '1') this.#dropIpv6(link)
    return undefined
  }

  addAddress(link: FakeLink, address: AddressWithLength): string | undefined {
    const isIpv6 = address.address.family === 6
    if (isIpv6 && !this.#hasIpv6(link)) return 'EINVAL'
    if (isIpv6 && !this.#runsIpv6(link)) return 'EACCES'
    // IPv6 has an address once on a link, IPv4 once with each length.
    const isThere = link.addresses.some(
      held => equalAddresses(held.address.address, address.address) && (isIpv6 || sameLength(held.address, address)),
    )
    if (isThere) return 'EEXIST'
    link.addresses.push({ address, isTentative: false })
    return undefined
  }

  deleteAddress(link: FakeLink, address: AddressWithLength): string | undefined {
    const at = link.addresses.findIndex(held => formatPrefix(held.address) === formatPrefix(address))
    if (at === -1) return 'EADDRNOTAVAIL'
    link.addresses.splice(at, 1)
    return undefined
  }

  /** Makes what leaves `link` wait; the kernel does not remember the burst as it was asked for. */
  addShaper(link: FakeLink, { bytesPerSecond, limitBytes }: Shaper): string | undefined {
    if (link.shaper !== undefined) return 'EEXIST'
    link.shaper = { bytesPerSecond, limitBytes }
    return undefined
  }

  redirectIngress(link: FakeLink, to: FakeLink | undefined): string | undefined {
    if (to === undefined) return 'ENODEV'
    if (link.ingress !== undefined) return 'EEXIST'
    link.ingress = { to }
    return undefined
  }

  shapingOf(link: FakeLink): ObservedShaping {
    const { shaper, ingress } = link
    const isLed = ingress !== undefined && this.links.includes(ingress.to)
    return { ...(shaper === undefined ? {} : { shaper }), ...(isLed ? { redirectsTo: ingress.to.index } : {}) }
  }

  setNeighbour(link: FakeLink, { address, mac, isLearnable }: NewNeighbour): string | undefined {
    if (address.family === 6 && !this.#runsIpv6(link)) return 'EINVAL'
    link.neighbours = [
      ...link.neighbours.filter(entry => !equalAddresses(entry.address, address)),
      { address, mac, isPermanent: isLearnable !== true },
    ]
    return undefined
  }

  deleteNeighbour(link: FakeLink, address: Address): string | undefined {
    const at = link.neighbours.findIndex(entry => equalAddresses(entry.address, address))
    if (at === -1) return 'ENOENT'
    link.neighbours.splice(at, 1)
    return undefined
  }

  addRoute(route: FakeRoute): string | undefined {
    return this.#refusalOf(route) ?? this.#keepRoute(route)
  }

  /** Removes the route to `to` through that link, by that next hop and of that protocol. */
  deleteRoute(route: FakeRoute): string | undefined {
    const at = this.routes.findIndex(
      held =>
        held.link === route.link &&
        held.protocol === route.protocol &&
        equalPrefixes(held.to, route.to) &&
        sameVia(held, route),
    )
    if (at === -1) return 'ESRCH'
    this.routes.splice(at, 1)
    return undefined
  }

  /** The routes of the main table through `link`: those that were added, and those that its addresses bring along. */
  routesOf(link: FakeLink): readonly ObservedRoute[] {
    const added = this.routes.filter(route => route.link === link).map(({ link: _link, ...route }) => route)
    return [...added, ...connectedRoutes(link)]
  }

  /** The link through which packets to `address` leave; own addresses are reached through lo. */
  linkTowards(address: Address): FakeLink | undefined {
    const up = this.links.filter(link => link.isUp)
    if (up.some(link => link.addresses.some(held => equalAddresses(held.address.address, address))))
      return this.links[0]
    const routes: readonly FakeRoute[] = [
      ...this.routes,
      ...up.flatMap(link => connectedRoutes(link).map(route => ({ ...route, link }))),
    ]
    const best = routes
      .filter(route => containsAddress(route.to, address) && route.link?.isUp !== false)
      .toSorted((a, b) => b.to.prefixLength - a.to.prefixLength || metricOrder(a) - metricOrder(b))[0]
    return best?.link
  }

  addElements(elements: readonly Element[], owner: AttachmentKey): string | undefined {
    for (const element of elements) {
      const set = this.sets.get(element.set.name)
      if (set === undefined || !this.#leadsSomewhere(element)) return 'ENOENT'
      if (set.has(renderKey(element))) return 'EEXIST'
    }
    this.nftGeneration++
    for (const element of elements) this.sets.get(element.set.name)?.set(renderKey(element), { ...element, owner })
    return undefined
  }

  deleteElements(elements: readonly Element[]): string | undefined {
    const isThere = elements.every(element => this.sets.get(element.set.name)?.has(renderKey(element)) === true)
    if (!isThere) return 'ENOENT'
    this.nftGeneration++
    for (const element of elements) this.sets.get(element.set.name)?.delete(renderKey(element))
    return undefined
  }

  /** Somebody removes our table, or all tables. */
  flushTables(): void {
    this.nftGeneration++
    this.chains.clear()
    this.sets.clear()
    this.prefixSets.clear()
  }

  #leadsSomewhere(element: Element): boolean {
    return element.set.data !== 'verdict' || this.chains.has(chainOf(element))
  }

  #refusalOf({ to, via, link }: FakeRoute): string | undefined {
    if (link === undefined) return undefined
    if (to.address.family === 6 && !this.#runsIpv6(link)) return 'EACCES'
    if (!link.isUp) return 'ENETDOWN'
    if (via === undefined || containsAddress(LINK_LOCAL, via)) return undefined
    const isOnLink = this.routesOf(link).some(route => route.via === undefined && containsAddress(route.to, via))
    if (isOnLink) return undefined
    return via.family === 4 ? 'ENETUNREACH' : 'EHOSTUNREACH'
  }

  #keepRoute(route: FakeRoute): string | undefined {
    // One prefix, one route of that metric, whatever link it leads through.
    const isThere = this.routes.some(
      held => equalPrefixes(held.to, route.to) && metricOrder(held) === metricOrder(route),
    )
    // The routes that IPv4 addresses bring along have the metric of ours; those of IPv6 addresses have another.
    const isConnected =
      route.link !== undefined &&
      route.to.address.family === 4 &&
      this.links.some(link => connectedRoutes(link).some(held => equalPrefixes(held.to, route.to)))
    if (isThere || isConnected) return 'EEXIST'
    this.routes.push(route)
    return undefined
  }

  #addSetting(key: string, value: string): void {
    if (this.hasIpv6 || !key.startsWith('net/ipv6/')) this.sysctls.set(key, value)
  }

  #addSettings(link: FakeLink): void {
    for (const [family, settings] of Object.entries(INTERFACE_SETTINGS)) {
      if (family === 'ipv6' && !this.#hasIpv6(link)) continue
      for (const name of Object.keys(settings)) {
        const value = this.sysctls.get(`net/${family}/conf/default/${name}`) ?? '0'
        this.sysctls.set(`net/${family}/conf/${link.name}/${name}`, value)
      }
      for (const [name, value] of Object.entries(NEIGHBOUR_SETTINGS))
        this.sysctls.set(`net/${family}/neigh/${link.name}/${name}`, value)
    }
  }

  #hasIpv6(link: FakeLink): boolean {
    return this.hasIpv6 && link.mtuBytes >= IPV6_MIN_MTU_BYTES
  }

  #runsIpv6(link: FakeLink): boolean {
    return this.#hasIpv6(link) && this.sysctls.get(`net/ipv6/conf/${link.name}/disable_ipv6`) !== '1'
  }

  /** A link makes its link-local address once it has a carrier: an end of a veth pair, once the other end is up too. */
  #makeOwnAddresses(link: FakeLink): void {
    if (!link.isUp || link.peer?.link.isUp === false) return
    const own =
      link.name === 'lo'
        ? LOOPBACK_ADDRESSES
        : link.hasNoLinkLocal
          ? []
          : [{ address: linkLocalOf(link.mac), prefixLength: 64 }]
    for (const address of own) {
      if (address.address.family === 6 && !this.#runsIpv6(link)) continue
      link.addresses.push({ address, isTentative: link.name !== 'lo' })
    }
  }

  #dropIpv6(link: FakeLink): void {
    link.addresses = link.addresses.filter(({ address }) => address.address.family === 4)
    this.routes = this.routes.filter(route => route.link !== link || route.to.address.family === 4)
  }
}

/** `link` as the kernel reports it. */
export function observed(link: FakeLink): ObservedLink {
  const { addresses: _addresses, neighbours: _neighbours, allowedMacs: _allowedMacs, peer, ...more } = link
  const { shaper: _shaper, ingress: _ingress, ...rest } = more
  return { ...rest, ...(peer === undefined ? {} : { peerIndex: peer.link.index }) }
}

/** Routes to the prefixes of the addresses of a link that is up: those of IPv4 that have more than themselves, all of IPv6. */
function connectedRoutes(link: FakeLink): readonly ObservedRoute[] {
  if (!link.isUp || link.name === 'lo') return []
  const prefixes = link.addresses
    .map(({ address: { address, prefixLength } }) => prefixOf(address, prefixLength))
    .filter(prefix => prefix.address.family === 6 || prefix.prefixLength < 32)
  const unique = new Map<string, Prefix>(prefixes.map(prefix => [formatPrefix(prefix), prefix]))
  return [...unique.values()].map(to => ({ to, protocol: RTPROT_KERNEL }))
}

function sameLength(a: AddressWithLength, b: AddressWithLength): boolean {
  return a.prefixLength === b.prefixLength
}

/** Our routes that refuse packets have the last of all metrics; the others have the kernel's default. */
function metricOrder({ link }: FakeRoute): number {
  return link === undefined ? 1 : 0
}

/** IPv6 compares next hops only where the request names one. */
function sameVia(held: FakeRoute, asked: FakeRoute): boolean {
  if (asked.via === undefined) return held.via === undefined || asked.to.address.family === 6
  return held.via !== undefined && equalAddresses(held.via, asked.via)
}

import { type JsonObject, asObjects, isObject } from '../e2e/netns/harness/json.ts'
import type { Netns } from '../e2e/netns/harness/namespace.ts'
import { type Cidr, canonicalAddress, familyOf } from './address.ts'
import type { Family } from './subject.ts'

/** A network interface as the kernel has it. */
export interface Link {
  readonly name: string
  readonly index: number
  readonly mac: string
  readonly mtuBytes: number
  readonly isUp: boolean
  /** `veth`, `bridge`, `macvlan`; empty for lo. */
  readonly kind: string
  /** The bridge that it is a port of. */
  readonly master?: string
  /** For a veth: the index of the other end, in the namespace of that end. */
  readonly otherIndex?: number
  readonly addresses: readonly LinkAddress[]
}

export interface LinkAddress extends Cidr {
  readonly scope: string
  readonly isTentative: boolean
}

/** A route of any table, as ip(8) names its parts. */
export interface Route {
  readonly family: Family
  /** `default`, an address, or a prefix. */
  readonly dst: string
  readonly type: string
  readonly dev?: string
  readonly gateway?: string
  /** `main` for the main table. */
  readonly table: string
  readonly protocol: string
}

/** Reads the interfaces of a namespace and their addresses. */
export async function linksOf(netns: Netns): Promise<readonly Link[]> {
  const [found = []] = await showAll(netns, 'any', ['address show'])
  return found.map(toLink)
}

/** Reads the routes of every table of a namespace, without those that the kernel keeps for its own addresses. */
export async function routesOf(netns: Netns): Promise<readonly Route[]> {
  const each = await Promise.all(
    (['ipv4', 'ipv6'] as const).map(async family => {
      const [found = []] = await showAll(netns, family, ['route show table all'])
      return toRoutes(found, family)
    }),
  )
  return each.flat()
}

/** All of a namespace that a plugin may change. */
export interface NetnsState {
  readonly links: readonly Link[]
  readonly routes: readonly Route[]
  /** Rules, permanent neighbours and proxied ones, as ip(8) shows them. */
  readonly others: readonly string[]
}

/** Reads a namespace with as few processes as it can be done with: it is read hundreds of times. */
export async function readNetns(netns: Netns): Promise<NetnsState> {
  const [[links = [], neighbours = [], proxied = []], [routes4 = [], rules4 = []], [routes6 = [], rules6 = []]] =
    await Promise.all([
      showAll(netns, 'any', ['address show', 'neighbour show nud permanent', 'neighbour show proxy']),
      showAll(netns, 'ipv4', ['route show table all', 'rule show']),
      showAll(netns, 'ipv6', ['route show table all', 'rule show']),
    ])
  const name = (what: string, all: readonly JsonObject[]): readonly string[] =>
    all.map(each => `${what} ${JSON.stringify(each)}`)
  return {
    links: links.map(toLink),
    routes: [...toRoutes(routes4, 'ipv4'), ...toRoutes(routes6, 'ipv6')],
    others: [
      ...name('neighbour', neighbours),
      ...name('proxied neighbour', proxied),
      ...name('IPv4 rule', rules4),
      ...name('IPv6 rule', rules6),
    ],
  }
}

/** What ip(8) shows for each of `commands`, with one process for all. */
async function showAll(
  netns: Netns,
  family: Family | 'any',
  commands: readonly string[],
): Promise<readonly (readonly JsonObject[])[]> {
  const option = { any: [], ipv4: ['-4'], ipv6: ['-6'] }[family]
  const stdin = commands.map(command => `${command}\n`).join('')
  const text = await netns.run(['ip', ...option, '-json', '-details', '-batch', '-'], { stdin })
  // One array for each command, with or without a line between them.
  const documents = text.trim().split(/(?<=\])\s*(?=\[)/)
  if (documents.length !== commands.length) throw new Error(`ip: ${commands.join(', ')}: cannot read ${text}`)
  return documents.map((document, index) => asObjects(JSON.parse(document), `ip ${commands[index] ?? ''}`))
}

function toRoutes(found: readonly JsonObject[], family: Family): readonly Route[] {
  const routes = found.map(route => toRoute(route, family))
  return routes.filter(route => !OF_THE_KERNEL.has(route.type) && route.dst !== 'ff00::/8')
}

const OF_THE_KERNEL: ReadonlySet<string> = new Set(['local', 'broadcast', 'anycast', 'multicast'])

function toLink(link: JsonObject): Link {
  const info = isObject(link['linkinfo']) ? link['linkinfo'] : {}
  const master = link['master']
  const other = link['link_index']
  return {
    name: textOf(link['ifname']),
    index: Number(link['ifindex']),
    mac: textOf(link['address']),
    mtuBytes: Number(link['mtu']),
    isUp: Array.isArray(link['flags']) && link['flags'].includes('UP'),
    kind: textOf(info['info_kind']),
    ...(typeof master === 'string' ? { master } : {}),
    ...(typeof other === 'number' ? { otherIndex: other } : {}),
    addresses: asObjects(link['addr_info'] ?? [], 'addr_info').flatMap(toAddress),
  }
}

function toAddress(info: JsonObject): readonly LinkAddress[] {
  const address = canonicalAddress(textOf(info['local']))
  if (address === undefined) return []
  const isTentative = info['tentative'] === true
  return [{ address, prefixLength: Number(info['prefixlen']), scope: textOf(info['scope']), isTentative }]
}

function toRoute(route: JsonObject, family: Family): Route {
  const { dev, gateway } = route
  return {
    family,
    dst: textOf(route['dst']),
    type: textOf(route['type'], 'unicast'),
    ...(typeof dev === 'string' ? { dev } : {}),
    ...(typeof gateway === 'string' ? { gateway } : {}),
    table: textOf(route['table'], 'main'),
    protocol: textOf(route['protocol']),
  }
}

/** What ip(8) shows as text or as a number; `otherwise` when it shows nothing. */
function textOf(value: unknown, otherwise = ''): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : otherwise
}

/** True for an address that a plugin gave, not one that the kernel made for the link itself. */
export function isGiven({ address, scope }: LinkAddress): boolean {
  return scope !== 'link' || familyOf(address) === 'ipv4'
}

/** Interfaces in a text that stays the same as long as nobody does anything: without what the kernel does by itself. */
export function renderLinks(links: readonly Link[]): string {
  const each = links.map(({ name, mac, mtuBytes, isUp, addresses }) => {
    const given = addresses.filter(isGiven).map(({ address, prefixLength }) => `${address}/${prefixLength}`)
    return [name, mac, `mtu ${mtuBytes}`, isUp ? 'up' : 'down', ...given.toSorted()].join(' ')
  })
  return each.join('; ')
}

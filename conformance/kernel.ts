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
  const found = asObjects(JSON.parse(await netns.run(['ip', '-json', '-details', 'address', 'show'])), 'ip address')
  return found.map(toLink)
}

/** Reads the routes of every table of a namespace, without those that the kernel keeps for its own addresses. */
export async function routesOf(netns: Netns): Promise<readonly Route[]> {
  const each = await Promise.all(
    (['ipv4', 'ipv6'] as const).map(async family => {
      const option = family === 'ipv4' ? '-4' : '-6'
      const text = await netns.run(['ip', option, '-json', '-details', 'route', 'show', 'table', 'all'])
      return asObjects(JSON.parse(text || '[]'), 'ip route').map(route => toRoute(route, family))
    }),
  )
  return each.flat().filter(route => !OF_THE_KERNEL.has(route.type) && route.dst !== 'ff00::/8')
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

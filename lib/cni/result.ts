import { formatAddress, parseAddress } from '../net/address.ts'
import { formatPrefix, parseAddressWithLength, prefixOf } from '../net/prefix.ts'
import { isEmptyDns, parseDns, renderDns } from './dns.ts'
import { CniError, ErrorCode } from './errors.ts'
import {
  optionalInteger,
  optionalSection,
  optionalSections,
  optionalString,
  parseAt,
  pathOf,
  requiredString,
  rootSection,
} from './json.ts'
import { isAtLeast, parseCniVersion } from './version.ts'
import type { Address } from '../net/address.ts'
import type { AddressWithLength, Prefix } from '../net/prefix.ts'
import type { Dns } from './dns.ts'
import type { JsonObject, Section } from './json.ts'
import type { CniVersion } from './version.ts'

export type { Dns } from './dns.ts'

/** A CNI result in terms of the newest specification; older versions carry less of it (1.1.0, section 5, "Success"). */
export interface Result {
  readonly interfaces: readonly ResultInterface[]
  readonly ips: readonly ResultIp[]
  readonly routes: readonly ResultRoute[]
  readonly dns: Dns
}

/** One interface that was made. `sandbox` is CNI_NETNS as it was passed; absent means the node's namespace. */
export interface ResultInterface {
  readonly name: string
  /** Text, not `Mac`: in prevResult it is another plugin's, and may be no Ethernet address. */
  readonly mac?: string
  readonly mtuBytes?: number
  readonly sandbox?: string
  readonly socketPath?: string
  readonly pciId?: string
}

/** One address. `interfaceIndex` points into `interfaces`. */
export interface ResultIp {
  readonly address: AddressWithLength
  readonly gateway?: Address
  readonly interfaceIndex?: number
}

/** One route in the container. */
export interface ResultRoute {
  readonly dst: Prefix
  readonly gw?: Address
  readonly mtuBytes?: number
  readonly advmss?: number
  readonly priority?: number
  readonly table?: number
  readonly scope?: number
}

const UINT32 = { min: 0, max: 0xffff_ffff } as const

/**
 * Reads a result of any version. A result says its own version; `version` holds when it does not.
 *
 * Members that the specification does not know are dropped. Routes are reduced to their network.
 *
 * @throws {CniError} code 6 with the path and the value of what cannot be read; code 1 for a version that we do not speak.
 */
export function parseResult(json: JsonObject, version: CniVersion): Result {
  return readResult(rootSection(json, ErrorCode.decode), version)
}

/**
 * Reads what a delegated IPAM plugin printed: as `parseResult`, without interfaces and indexes of interfaces, which the
 * specification keeps to the plugin that makes the interface (1.1.0, section 4).
 *
 * @throws {CniError} as `parseResult`.
 */
export function parseIpamResult(json: JsonObject, version: CniVersion): Result {
  const { ips, routes, dns } = parseResult(json, version)
  return {
    interfaces: [],
    ips: ips.map(({ address, gateway }) => ({ address, ...(gateway ? { gateway } : {}) })),
    routes,
    dns,
  }
}

/** Reads a result that is a member of another document, as `parseResult`. Faults are reported with its path. */
export function readResult(section: Section, version: CniVersion): Result {
  const own = ownVersion(section) ?? version
  const dns = parseDns(optionalSection(section, 'dns'))
  if (!isAtLeast(own, '0.3.0')) return { interfaces: [], ...readOldAddresses(section), dns }
  return {
    interfaces: (optionalSections(section, 'interfaces') ?? []).map(readInterface),
    ips: (optionalSections(section, 'ips') ?? []).map(readIp),
    routes: (optionalSections(section, 'routes') ?? []).map(readRoute),
    dns,
  }
}

/**
 * Renders a result as `version` wants it, dropping what that version cannot carry (checklist 1.10). Empty lists and empty
 * dns are left out, in every version.
 *
 * @throws {CniError} code 1 when 0.1.0 or 0.2.0 is wanted and there is no address: those have no other content.
 */
export function renderResult(result: Result, version: CniVersion): JsonObject {
  const body = isAtLeast(version, '0.3.0') ? renderBody(result, version) : renderOldAddresses(result)
  return { cniVersion: version, ...body, ...(isEmptyDns(result.dns) ? {} : { dns: renderDns(result.dns) }) }
}

/** Go reads keys in any case, and its library has written "CNIVersion" into prevResult (checklist C9). */
function ownVersion(section: Section): CniVersion | undefined {
  const keys = Object.keys(section.object).filter(key => key.toLowerCase() === 'cniversion')
  const key = keys.includes('cniVersion') ? 'cniVersion' : keys[0]
  const text = key === undefined ? undefined : optionalString(section, key)
  return text ? parseCniVersion(text) : undefined
}

function readInterface(section: Section): ResultInterface {
  return {
    name: requiredString(section, 'name'),
    ...present({
      mac: nonEmptyString(section, 'mac'),
      mtuBytes: optionalInteger(section, 'mtu', UINT32),
      sandbox: nonEmptyString(section, 'sandbox'),
      socketPath: nonEmptyString(section, 'socketPath'),
      pciId: nonEmptyString(section, 'pciID'),
    }),
  }
}

function readIp(section: Section): ResultIp {
  return {
    address: readAddressWithLength(section, 'address'),
    ...present({
      gateway: readAddress(section, 'gateway'),
      interfaceIndex: optionalInteger(section, 'interface', UINT32),
    }),
  }
}

function readRoute(section: Section): ResultRoute {
  const { address, prefixLength } = readAddressWithLength(section, 'dst')
  return {
    dst: prefixOf(address, prefixLength),
    ...present({
      gw: readAddress(section, 'gw'),
      mtuBytes: optionalInteger(section, 'mtu', UINT32),
      advmss: optionalInteger(section, 'advmss', UINT32),
      priority: optionalInteger(section, 'priority', UINT32),
      table: optionalInteger(section, 'table', UINT32),
      scope: optionalInteger(section, 'scope', { min: 0, max: 255 }),
    }),
  }
}

/** 0.1.0 and 0.2.0: one address of each family under "ip4" and "ip6", each with its own routes. */
function readOldAddresses(section: Section): Pick<Result, 'ips' | 'routes'> {
  const families = ['ip4', 'ip6'].map(key => optionalSection(section, key)).filter(family => family !== undefined)
  return {
    ips: families.map(family => ({
      address: readAddressWithLength(family, 'ip'),
      ...present({ gateway: readAddress(family, 'gateway') }),
    })),
    routes: families.flatMap(family => (optionalSections(family, 'routes') ?? []).map(readRoute)),
  }
}

function renderBody(result: Result, version: CniVersion): JsonObject {
  const interfaces = result.interfaces.map(item => renderInterface(item, version))
  const ips = result.ips.map(ip => renderIp(ip, version))
  const routes = result.routes.map(route => renderRoute(route, version))
  return {
    ...(interfaces.length > 0 ? { interfaces } : {}),
    ...(ips.length > 0 ? { ips } : {}),
    ...(routes.length > 0 ? { routes } : {}),
  }
}

function renderInterface(item: ResultInterface, version: CniVersion): JsonObject {
  const { name, mac, sandbox, mtuBytes, socketPath, pciId } = item
  const since110 = isAtLeast(version, '1.1.0') ? { mtu: mtuBytes, socketPath, pciID: pciId } : {}
  return { name, ...present({ mac, sandbox, ...since110 }) }
}

function renderIp(ip: ResultIp, version: CniVersion): JsonObject {
  return {
    ...(isAtLeast(version, '1.0.0') ? {} : { version: String(ip.address.address.family) }),
    address: formatPrefix(ip.address),
    ...present({ gateway: ip.gateway && formatAddress(ip.gateway), interface: ip.interfaceIndex }),
  }
}

function renderRoute(route: ResultRoute, version: CniVersion): JsonObject {
  const { dst, gw, mtuBytes, advmss, priority, table, scope } = route
  const since110 = isAtLeast(version, '1.1.0') ? { mtu: mtuBytes, advmss, priority, table, scope } : {}
  return { dst: formatPrefix(dst), ...present({ gw: gw && formatAddress(gw), ...since110 }) }
}

function renderOldAddresses(result: Result): JsonObject {
  const ip4 = renderOldAddress(result, 4)
  const ip6 = renderOldAddress(result, 6)
  if (!ip4 && !ip6) throw new CniError(ErrorCode.incompatibleVersion, 'cannot convert: no valid IP addresses')
  return present({ ip4, ip6 })
}

/** Only the first address of a family has a place, and a route only beside an address of its family. */
function renderOldAddress(result: Result, family: 4 | 6): JsonObject | undefined {
  const ip = result.ips.find(candidate => candidate.address.address.family === family)
  if (!ip) return undefined
  const routes = result.routes.filter(route => route.dst.address.family === family)
  return {
    ip: formatPrefix(ip.address),
    ...present({ gateway: ip.gateway && formatAddress(ip.gateway) }),
    ...(routes.length > 0 ? { routes: routes.map(route => renderRoute(route, '0.2.0')) } : {}),
  }
}

function readAddressWithLength(section: Section, key: string): AddressWithLength {
  const text = requiredString(section, key)
  return parseAt({ path: pathOf(section, key), code: section.code }, () => parseAddressWithLength(text))
}

/** Go writes an address that is not set as "". */
function readAddress(section: Section, key: string): Address | undefined {
  const text = nonEmptyString(section, key)
  if (text === undefined) return undefined
  return parseAt({ path: pathOf(section, key), code: section.code }, () => parseAddress(text))
}

function nonEmptyString(section: Section, key: string): string | undefined {
  return optionalString(section, key) || undefined
}

/** What is left of the members that have a value. */
type Present<Members> = { [Key in keyof Members]?: Exclude<Members[Key], undefined> }

function present<Members extends object>(members: Members): Present<Members> {
  // Only members that are undefined are left out, which is what the type says.
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Present<Members>
}

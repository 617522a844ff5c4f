import { MAX_NAME_LENGTH, MAX_STICKY_SECONDS } from '../ipam/protocol.ts'
import { parseAddress } from '../net/address.ts'
import { containsAddress, hostPrefix, parsePrefix, type Prefix } from '../net/prefix.ts'
import { parseBandwidth } from './bandwidth.ts'
import { asksForBridge, parseBridgeConfiguration } from './bridge-configuration.ts'
import { parseDnsCapability } from './dns.ts'
import { CniError } from './errors.ts'
import {
  isEmpty,
  member,
  optionalBoolean,
  optionalInteger,
  optionalString,
  optionalStrings,
  parseAt,
  pathOf,
  quoteJson,
  refusal,
  rootSection,
  unsupported,
} from './json.ts'
import type { Address } from '../net/address.ts'
import type { Bandwidth } from '../net/bandwidth.ts'
import type { BridgeConfiguration } from './bridge-configuration.ts'
import type { NetworkConfiguration } from './configuration.ts'
import type { Dns } from './dns.ts'
import type { Section } from './json.ts'

/** Where ipamd listens when `ipam.socket` does not say otherwise. */
export const DEFAULT_SOCKET_PATH = '/run/tulle/ipamd.sock'

/** The `ipam.type` that is served by ipamd without executing a plugin. */
export const OWN_IPAM_TYPE = 'tulle-ipam'

/** The names under which this plugin itself is installed. */
const OWN_TYPES: ReadonlySet<string> = new Set(['tulle', 'tulle-node'])

/** sun_path has 108 bytes, and its last byte is NUL. */
const MAX_SOCKET_PATH_BYTES = 107

/** RFC 791 demands 68 of every IPv4 link; a link's MTU in IPv4 cannot be larger than a datagram. */
const MTU_BOUNDS = { min: 68, max: 65535 } as const

/** Unspecified, loopback and multicast: a route to these leads no packet of a pod to the host. */
const NOT_ON_HOST = ['0.0.0.0/8', '127.0.0.0/8', '224.0.0.0/3', '::/127', 'ff00::/8'].map(parsePrefix)

/** Our own part of the plugin configuration object. */
export interface TulleConfiguration {
  readonly mode: 'transparent' | 'bridge'
  /** There in bridge mode, and only there. */
  readonly bridge?: BridgeConfiguration
  /** Undefined: as the device has that the node's default route uses. */
  readonly mtuBytes?: number
  readonly ipsToRouteViaHost: readonly Address[]
  readonly ipam: IpamChoice
  /** Whether connections of a pod to its own hostPort, and of the host from 127.0.0.1, get an address of the node. */
  readonly snat: boolean
  /** Undefined: connections of pods to the outside keep their address. */
  readonly masquerade?: { readonly except: readonly Prefix[] }
  /** Undefined: pods send and are sent as much as the node can. */
  readonly bandwidth?: Bandwidth
}

/** Who leases addresses: ipamd, over its socket, or another plugin, executed from CNI_PATH. */
export type IpamChoice = TulleIpam | { readonly kind: 'delegated'; readonly type: string }

/** ipamd, and what is asked of it for every pod. */
export interface TulleIpam {
  readonly kind: 'tulle'
  readonly socketPath: string
  readonly pool?: string
  /** How long addresses are kept for their pod after DEL. */
  readonly stickySeconds?: number
}

/** Capabilities of CNI CONVENTIONS.md that this version does not offer, whoever leases addresses. */
const REFUSED_CAPABILITIES = ['aliases', 'deviceID', 'infinibandGUID'] as const

/** Keys of the reference plugin portmap that say how it is to do with iptables what is done here by elements of sets. */
const REFUSED_PORTMAP_KEYS = ['conditionsV4', 'conditionsV6', 'externalSetMarkChain', 'markMasqBit', 'masqAll'] as const

/** Each prefix is a rule that a packet to the outside passes by. */
const MAX_EXCEPTIONS = 64

/**
 * Reads the fields that are ours, and refuses by name what this version does not build. Other keys are tolerated.
 *
 * With `lenient` nothing is refused, and a value that cannot be used counts as missing: what ADD did under an older
 * configuration has to come off under this one (checklist D6).
 *
 * @throws {CniError} code 2 for a value that is not supported, with key and value (checklist C6); code 7 for one that is
 *   wrong, with path, value and what is wanted (C7).
 */
export function parseTulleConfiguration(
  net: NetworkConfiguration,
  options: { readonly lenient?: boolean } = {},
): TulleConfiguration {
  if (options.lenient) return parseLeniently(net)
  const root = rootSection(net.raw)
  refuseUnsupportedValues(root)
  refuseCapabilities(net)
  const mtuBytes = parseMtu(root)
  const bridge = parseMode(root) === 'bridge' ? parseBridgeConfiguration(net) : undefined
  const ipsToRouteViaHost = parseIpsToRouteViaHost(root)
  const bandwidth = parseBandwidth(net)
  return {
    mode: bridge === undefined ? 'transparent' : 'bridge',
    ...(bridge === undefined ? {} : { bridge }),
    ...(mtuBytes === undefined ? {} : { mtuBytes }),
    ipsToRouteViaHost,
    ipam: parseIpamChoice(net, root),
    snat: optionalBoolean(root, 'snat') ?? true,
    ...parseMasquerade(root, ipsToRouteViaHost),
    ...(bandwidth === undefined ? {} : { bandwidth }),
  }
}

/**
 * The resolver settings for the result: the runtime's for this pod (capability "dns"), or else the configuration's
 * (checklist A7, E8).
 *
 * @throws {CniError} code 7 when runtimeConfig.dns cannot be read.
 */
export function resolverSettings(net: NetworkConfiguration): Dns {
  const asked = parseDnsCapability({ ...rootSection(net.runtimeConfig), path: 'runtimeConfig' })
  return { ...net.dns, ...asked }
}

function refuseUnsupportedValues(root: Section): void {
  for (const key of REFUSED_PORTMAP_KEYS) {
    const value = member(root, key)
    if (value !== undefined && !isEmpty(value)) throw unsupported(key, value, 'leave it out')
  }
}

/** Where no mode is named, keys that only the reference plugin `bridge` has say which: its conflists move over by `type`. */
function parseMode(root: Section): 'transparent' | 'bridge' {
  const mode = optionalString(root, 'mode')
  if (mode === undefined) return asksForBridge(root) ? 'bridge' : 'transparent'
  if (mode === 'transparent' || mode === 'bridge') return mode
  throw unsupported('mode', mode, 'want "transparent" or "bridge"')
}

function refuseCapabilities(net: NetworkConfiguration): void {
  const section = { ...rootSection(net.runtimeConfig), path: 'runtimeConfig' }
  for (const key of REFUSED_CAPABILITIES) {
    const value = member(section, key)
    if (value !== undefined && !isEmpty(value))
      throw unsupported(pathOf(section, key), value, 'leave the capability out')
  }
}

/** 0 means that none is asked for, as it does to the reference plugins. */
function parseMtu(root: Section): number | undefined {
  return member(root, 'mtu') === 0 ? undefined : optionalInteger(root, 'mtu', MTU_BOUNDS)
}

function parseIpsToRouteViaHost(root: Section): readonly Address[] {
  return (optionalStrings(root, 'ipsToRouteViaHost') ?? []).map((text, index) => {
    const path = `ipsToRouteViaHost[${index}]`
    const address = parseAt({ path, code: root.code }, () => parseAddress(text))
    if (!NOT_ON_HOST.some(prefix => containsAddress(prefix, address))) return address
    throw new CniError(
      root.code,
      `Cannot use ${path} ${quoteJson(text)}: want an address that the host can have for its pods`,
    )
  })
}

/** The node's own services are reached under the pod's address, wherever they run (`ipsToRouteViaHost`). */
function parseMasquerade(root: Section, viaHost: readonly Address[]): Pick<TulleConfiguration, 'masquerade'> {
  const texts = optionalStrings(root, 'nonMasqueradeCIDRs') ?? []
  if (texts.length > MAX_EXCEPTIONS) {
    const fault = `Cannot use nonMasqueradeCIDRs with ${texts.length} prefixes`
    throw new CniError(root.code, `${fault}: want at most ${MAX_EXCEPTIONS}`)
  }
  const prefixes = texts.map((text, index) =>
    parseAt({ path: `nonMasqueradeCIDRs[${index}]`, code: root.code }, () => parsePrefix(text)),
  )
  if (!optionalBoolean(root, 'ipMasq')) return {}
  return { masquerade: { except: [...prefixes, ...viaHost.map(hostPrefix)] } }
}

function parseIpamChoice(net: NetworkConfiguration, root: Section): IpamChoice {
  if (net.ipam === undefined) throw refusal(root, 'ipam', `an object such as {"type": "${OWN_IPAM_TYPE}"}`)
  if (isItself(net, net.ipam.type))
    throw refusal(ipamSection(net), 'type', `an IPAM plugin, such as "${OWN_IPAM_TYPE}"`)
  if (isDelegated(net)) return { kind: 'delegated', type: net.ipam.type }
  const section = ipamSection(net)
  const pool = optionalString(section, 'pool')
  if (pool !== undefined && (pool === '' || pool.length > MAX_NAME_LENGTH))
    throw refusal(section, 'pool', `the name of a pool, at most ${MAX_NAME_LENGTH} characters`)
  const stickySeconds = optionalInteger(section, 'stickySeconds', { min: 0, max: MAX_STICKY_SECONDS })
  return {
    kind: 'tulle',
    socketPath: parseSocketPath(section),
    ...(pool === undefined ? {} : { pool }),
    ...(stickySeconds === undefined ? {} : { stickySeconds }),
  }
}

function parseSocketPath(section: Section): string {
  if (member(section, 'socket') === undefined) return DEFAULT_SOCKET_PATH
  const path = usableSocketPath(section)
  if (path !== undefined) return path
  throw refusal(section, 'socket', `an absolute path of at most ${MAX_SOCKET_PATH_BYTES} bytes`)
}

/** The path at `socket`, or undefined when a Unix socket cannot have it. */
function usableSocketPath(section: Section): string | undefined {
  const path = member(section, 'socket')
  if (typeof path !== 'string' || !path.startsWith('/') || path.includes('\0') || !path.isWellFormed()) return undefined
  return new TextEncoder().encode(path).length <= MAX_SOCKET_PATH_BYTES ? path : undefined
}

/** Of our fields, DEL and GC need only to know who leases: a pool and the rest are not looked at. */
function parseLeniently(net: NetworkConfiguration): TulleConfiguration {
  const ipam: IpamChoice = isDelegated(net)
    ? { kind: 'delegated', type: net.ipam.type }
    : { kind: 'tulle', socketPath: usableSocketPath(ipamSection(net)) ?? DEFAULT_SOCKET_PATH }
  return { mode: 'transparent', ipsToRouteViaHost: [], ipam, snat: true }
}

function ipamSection(net: NetworkConfiguration): Section {
  return { ...rootSection(net.ipam?.raw ?? {}), path: 'ipam' }
}

function isDelegated(
  net: NetworkConfiguration,
): net is NetworkConfiguration & Pick<Required<NetworkConfiguration>, 'ipam'> {
  return net.ipam !== undefined && net.ipam.type !== OWN_IPAM_TYPE && !isItself(net, net.ipam.type)
}

/** A plugin that delegates to itself would start itself again and again: no deadline ends that, each run has a new one. */
function isItself({ type }: NetworkConfiguration, ipamType: string): boolean {
  return ipamType !== OWN_IPAM_TYPE && (ipamType === type || OWN_TYPES.has(ipamType))
}

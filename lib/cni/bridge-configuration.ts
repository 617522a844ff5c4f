import { parseIfName, type IfName } from '../net/if-name.ts'
import { CniError, ErrorCode } from './errors.ts'
import { member, optionalBoolean, optionalString, parseAt, refusal, rootSection, unsupported } from './json.ts'
import { readResult, type ResultRoute } from './result.ts'
import type { NetworkConfiguration } from './configuration.ts'
import type { Section } from './json.ts'

/** The bridge where none is named: that of the reference plugin, so that pods of both are on one link. */
export const DEFAULT_BRIDGE = 'cni0'

/** Names that begin so are those of host-side veths: rules for packets that pods send go by it (lib/plan/marks.ts). */
const VETH_PREFIX = 'tul'

/** How pods are put on a bridge. The keys are those of the reference plugin `bridge`. */
export interface BridgeConfiguration {
  readonly bridge: IfName
  /** The node has the gateway's address on the bridge, and forwards. */
  readonly isGateway: boolean
  /** The pod's default routes go by the gateway. Only with `isGateway`. */
  readonly isDefaultGateway: boolean
  /** An address of ours on the bridge that stands in the way of the gateway's is replaced, not reported. */
  readonly forceAddress: boolean
  /** A frame may leave by the port that it came from: a pod reaches itself by an address that is translated to its own. */
  readonly hairpinMode: boolean
  /** The bridge takes every frame up to the node. */
  readonly promiscMode: boolean
  /** Frames with another source than the pod's hardware address are dropped at its port. */
  readonly macSpoofCheck: boolean
  /** Ports that have this do not talk to each other, only to the node and to ports that have it not. */
  readonly portIsolation: boolean
  /** `ipam.routes`, where ipamd leases: a delegated plugin gives its routes itself. */
  readonly routes: readonly ResultRoute[]
}

/** Keys of the reference plugin that ask for something which this version does not do, and what may stand there. */
const REFUSED = {
  vlan: [0],
  vlanTrunk: [],
  enabledad: [false],
  disableContainerInterface: [false],
} as const satisfies Readonly<Record<string, readonly (number | boolean)[]>>

/** Keys that nobody but the reference plugin `bridge` has. */
const OWN_KEYS = [
  'bridge',
  'isGateway',
  'isDefaultGateway',
  'forceAddress',
  'hairpinMode',
  'promiscMode',
  'macspoofchk',
  'portIsolation',
  'vlan',
  'vlanTrunk',
] as const

/** Keys of the reference plugin that are of no effect without those that are refused. */
const WITHOUT_EFFECT = ['preserveDefaultVlan'] as const

/** Whether a configuration that names no mode is one for a bridge. */
export function asksForBridge(root: Section): boolean {
  return OWN_KEYS.some(key => member(root, key) !== undefined)
}

/**
 * Reads the keys of `mode: "bridge"`.
 *
 * @throws {CniError} code 2 with key and value for what this version does not do; code 7 for a value that is wrong.
 */
export function parseBridgeConfiguration(net: NetworkConfiguration): BridgeConfiguration {
  const root = rootSection(net.raw)
  refuseWhatIsNotDone(root)
  const is = (key: string): boolean => optionalBoolean(root, key) ?? false
  const hairpinMode = is('hairpinMode')
  const promiscMode = is('promiscMode')
  if (hairpinMode && promiscMode)
    throw refusal(root, 'promiscMode', 'false beside hairpinMode: frames would come twice')
  const isDefaultGateway = is('isDefaultGateway')
  const isGateway = is('isGateway') || isDefaultGateway
  if (!isGateway && hasItems(root, 'ipsToRouteViaHost')) {
    throw refusal(root, 'ipsToRouteViaHost', 'none without isGateway: the host has no address on the bridge')
  }
  return {
    bridge: parseBridgeName(root),
    isGateway,
    isDefaultGateway,
    forceAddress: is('forceAddress'),
    hairpinMode,
    promiscMode,
    macSpoofCheck: is('macspoofchk'),
    portIsolation: is('portIsolation'),
    routes: parseRoutes(net),
  }
}

function refuseWhatIsNotDone(root: Section): void {
  for (const [key, allowed] of Object.entries(REFUSED)) {
    const value = member(root, key)
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue
    if (!allowed.some(each => each === value)) throw unsupported(key, value, 'leave it out')
  }
  for (const key of WITHOUT_EFFECT) optionalBoolean(root, key)
}

function parseBridgeName(root: Section): IfName {
  const text = optionalString(root, 'bridge') ?? DEFAULT_BRIDGE
  const name = parseAt({ path: 'bridge', code: root.code }, () => parseIfName(text === '' ? DEFAULT_BRIDGE : text))
  if (!name.startsWith(VETH_PREFIX)) return name
  throw refusal(root, 'bridge', `a name that does not begin with "${VETH_PREFIX}", as those of the pods' links do`)
}

function hasItems(root: Section, key: string): boolean {
  const value = member(root, key)
  return Array.isArray(value) && value.length > 0
}

/** As `tulle-ipam` reads them under the reference plugin: a conflist moves over with its routes. */
function parseRoutes({ ipam }: NetworkConfiguration): readonly ResultRoute[] {
  const routes = ipam?.raw['routes'] ?? null
  const { routes: read } = readResult({ object: { routes }, path: 'ipam', code: ErrorCode.invalidConfig }, '1.1.0')
  const odd = read.find(route => Object.keys(route).some(key => key !== 'dst' && key !== 'gw'))
  if (odd === undefined) return read
  throw new CniError(ErrorCode.invalidConfig, 'Cannot use ipam.routes: want dst, and perhaps gw, alone')
}

import { DEFAULT_SOCKET_PATH } from '../lib/cni/tulle-configuration.ts'
import { Fields, shown } from '../lib/ipam/fields.ts'
import { ParseError } from '../lib/net/parse-error.ts'
import type { RoutingMode, RoutingSettings } from './desired/desired.ts'

/** Where the API server is, as the configuration names it; 'pod' is what Kubernetes gives to a container. */
export type KubeSource =
  | { readonly from: 'pod' }
  | { readonly from: 'kubeconfig'; readonly path: string }
  | { readonly from: 'server'; readonly server: string; readonly caFile?: string; readonly tokenFile?: string }

/** What the agent does, as its configuration file says. */
export interface AgentConfig {
  /** Undefined: the environment or the command line says it. */
  readonly nodeName: string | undefined
  readonly kube: KubeSource
  readonly routing: RoutingSettings
  readonly ipamdSocketPath: string
  /** Where ipamd stores its leases: what `uninstall --purge` removes. */
  readonly ipamdStateDir: string
  readonly listen: { readonly address: string; readonly port: number }
  /** Where the node's /etc is: the files that tell other services to leave us alone are looked for there. */
  readonly hostEtc: string
  /** Absent: nothing is installed. */
  readonly install?: InstallConfig
}

/** What is put where on the node. */
export interface InstallConfig {
  /** The folder that has the executables, and the one that gets them (/opt/cni/bin of the node). */
  readonly binFrom: string
  readonly binTo: string
  /** The network configuration list, and the file that gets it (/etc/cni/net.d/10-tulle.conflist of the node). */
  readonly conflistFrom: string
  readonly conflistTo: string
}

const DEFAULT_STATE_DIR = '/var/lib/tulle'
/** IANA's port for VXLAN (RFC 7348, section 5). */
const DEFAULT_VXLAN_PORT = 4789
const DEFAULT_VNI = 117
const MAX_VNI = 0xff_ffff
const DEFAULT_LISTEN = { address: '::', port: 9477 } as const
/** IPv6 wants 1,280 bytes of every link (RFC 8200, section 5); IPv4 alone would do with 576. */
const MIN_MTU_BYTES = 576
const MAX_MTU_BYTES = 65_535

/**
 * Reads the text of a configuration file.
 *
 * @throws {ParseError} with the path, the value and what was wanted; also for an unknown key.
 */
export function parseConfig(text: string): AgentConfig {
  const fields = Fields.of(parseJson(text), 'configuration')
  fields.only(['node', 'kube', 'routing', 'ipamd', 'listen', 'hostEtc', 'install'])
  const install = fields.optionalObject('install')
  return {
    nodeName: fields.optionalString('node'),
    kube: parseKube(fields.optionalObject('kube')),
    routing: parseRouting(fields.optionalObject('routing')),
    ...parseIpamd(fields.optionalObject('ipamd')),
    listen: parseListen(fields.optionalObject('listen')),
    hostEtc: fields.optionalString('hostEtc') ?? DEFAULT_CONFIG.hostEtc,
    ...(install === undefined ? {} : { install: parseInstall(install) }),
  }
}

/** The configuration of an agent that was given none. */
export const DEFAULT_CONFIG: AgentConfig = {
  nodeName: undefined,
  kube: { from: 'pod' },
  routing: { mode: 'auto', vni: DEFAULT_VNI, port: DEFAULT_VXLAN_PORT },
  ipamdSocketPath: DEFAULT_SOCKET_PATH,
  ipamdStateDir: DEFAULT_STATE_DIR,
  listen: DEFAULT_LISTEN,
  hostEtc: '/etc',
}

function parseIpamd(fields: Fields | undefined): Pick<AgentConfig, 'ipamdSocketPath' | 'ipamdStateDir'> {
  fields?.only(['socket', 'stateDir'])
  return {
    ipamdSocketPath: fields?.optionalString('socket') ?? DEFAULT_SOCKET_PATH,
    ipamdStateDir: fields?.optionalString('stateDir') ?? DEFAULT_STATE_DIR,
  }
}

function parseKube(fields: Fields | undefined): KubeSource {
  if (fields === undefined) return DEFAULT_CONFIG.kube
  fields.only(['kubeconfig', 'server', 'caFile', 'tokenFile'])
  const path = fields.optionalString('kubeconfig')
  const server = fields.optionalString('server')
  if (path !== undefined && server !== undefined) {
    throw new ParseError(`${fields.path}: both kubeconfig and server: want one of them`)
  }
  if (path !== undefined) return { from: 'kubeconfig', path }
  if (server === undefined) throw new ParseError(`${fields.path}: want kubeconfig or server`)
  const caFile = fields.optionalString('caFile')
  const tokenFile = fields.optionalString('tokenFile')
  return {
    from: 'server',
    server,
    ...(caFile === undefined ? {} : { caFile }),
    ...(tokenFile === undefined ? {} : { tokenFile }),
  }
}

function parseRouting(fields: Fields | undefined): RoutingSettings {
  if (fields === undefined) return DEFAULT_CONFIG.routing
  fields.only(['mode', 'vni', 'port', 'mtuBytes'])
  const mtuBytes = optionalBetween(fields, 'mtuBytes', { from: MIN_MTU_BYTES, to: MAX_MTU_BYTES })
  return {
    mode: fields.optionalParsed('mode', parseMode) ?? 'auto',
    vni: optionalBetween(fields, 'vni', { from: 1, to: MAX_VNI }) ?? DEFAULT_VNI,
    port: optionalBetween(fields, 'port', { from: 1, to: 65_535 }) ?? DEFAULT_VXLAN_PORT,
    ...(mtuBytes === undefined ? {} : { mtuBytes }),
  }
}

function parseMode(text: string): RoutingMode {
  if (text === 'direct' || text === 'vxlan' || text === 'auto') return text
  throw new ParseError(`${shown(text)}: want direct, vxlan or auto`)
}

function parseListen(fields: Fields | undefined): AgentConfig['listen'] {
  if (fields === undefined) return DEFAULT_LISTEN
  fields.only(['address', 'port'])
  return {
    address: fields.optionalString('address') ?? DEFAULT_LISTEN.address,
    port: optionalBetween(fields, 'port', { from: 0, to: 65_535 }) ?? DEFAULT_LISTEN.port,
  }
}

function parseInstall(fields: Fields): InstallConfig {
  fields.only(['binFrom', 'binTo', 'conflistFrom', 'conflistTo'])
  return {
    binFrom: fields.string('binFrom'),
    binTo: fields.string('binTo'),
    conflistFrom: fields.string('conflistFrom'),
    conflistTo: fields.string('conflistTo'),
  }
}

function optionalBetween(
  fields: Fields,
  key: string,
  { from, to }: { readonly from: number; readonly to: number },
): number | undefined {
  const value = fields.optionalCount(key)
  if (value === undefined || (value >= from && value <= to)) return value
  throw new ParseError(`${fields.path}.${key}: ${value}: want ${from} to ${to}`)
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ParseError(`configuration: not JSON: ${(cause as Error).message}`, { cause })
  }
}

import { dirname } from 'node:path'
import type { ErrorObject } from 'ajv'
import { DEFAULT_SOCKET_PATH } from '../lib/cni/tulle-configuration.ts'
import { validate } from '../generated/ipamd-config-validator.js'
import { shown } from '../lib/ipam/fields.ts'
import { parseAddress, type Family } from '../lib/net/address.ts'
import { ParseError } from '../lib/net/parse-error.ts'
import { formatPrefix, hostPrefix, overlaps, parsePrefix, type Prefix } from '../lib/net/prefix.ts'
import type { BlockSource, Pool } from './allocator/pool.ts'
import type { HistoryBounds } from './lease-service.ts'

/** What ipamd does, as its configuration file says. */
export interface IpamdConfig {
  readonly socketPath: string
  readonly stateDir: string
  /** Where /proc/sys can be written; undefined for where it is. */
  readonly procSys: string | undefined
  readonly nodeName: string
  /** At least one; the first is the default. */
  readonly pools: readonly Pool[]
  /** The ranges of the cluster's services. */
  readonly serviceRanges: readonly Prefix[]
  /** Ranges of the node that pools may overlap all the same. */
  readonly allowedOverlaps: readonly Prefix[]
  readonly history: HistoryBounds
  readonly reconcile: { readonly intervalMs: number; readonly graceMs: number }
}

/** A configuration that ipamd refuses. The message begins with the JSON path. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** Longest path that fits sockaddr_un, without its closing NUL. */
const MAX_SOCKET_PATH_BYTES = 107

const DEFAULT_BLOCK_PREFIX_LENGTH: Readonly<Record<Family, number>> = { 4: 24, 6: 64 }
const DEFAULT_COOLDOWN_SECONDS = 30
const DEFAULT_HISTORY_DAYS = 30
const DEFAULT_HISTORY_ROWS = 500_000
const DEFAULT_RECONCILE_SECONDS = { interval: 60, grace: 120 } as const
/** Longer than any ADD of a runtime takes. */
const MIN_GRACE_SECONDS_WITHOUT_LOCKS = 60
const DAY_MS = 86_400_000

// The shapes that the schema promises.
interface ConfigDocument {
  readonly socket: string
  readonly stateDir: string
  readonly procSys?: string
  readonly node?: string
  readonly pools: readonly PoolDocument[]
  readonly serviceRanges?: readonly string[]
  readonly allowedOverlaps?: readonly string[]
  readonly historyDays?: number
  readonly historyRows?: number
  readonly reconcile?: { readonly intervalSeconds?: number; readonly graceSeconds?: number }
  readonly blockSource?: BlockSourceDocument
}

interface BlockSourceDocument {
  readonly type: BlockSource['type']
  readonly socket?: string
  readonly pool?: string
}

interface PoolDocument {
  readonly name: string
  readonly prefixes?: readonly string[]
  readonly blockSource?: BlockSourceDocument
  readonly blockPrefixLength?: { readonly ipv4?: number; readonly ipv6?: number }
  readonly exclude?: readonly string[]
  readonly cooldownSeconds?: number
  readonly maxBlocks?: number
  readonly whenOnlyCooling?: 'wait' | 'takeOldest'
}

/**
 * Reads the text of a configuration file.
 *
 * @param hostName the node's name when the file gives none.
 * @throws {ConfigError} for an unknown key, a prefix that is none or overlaps another one, and everything else that the
 *   schema does not allow. The message has the JSON path, the value and what was wanted.
 */
export function parseConfig(text: string, hostName: string): IpamdConfig {
  const document = parseDocument(text)
  refuseLongSocketPath(document.socket, 'socket')
  const usual = document.blockSource ?? { type: 'local' }
  const pools = document.pools.map((pool, index) => parsePool({ blockSource: usual, ...pool }, `pools[${index}]`))
  refuseRepeatedNames(pools)
  refuseSecondHandedOver(pools)
  refuseUnnamedNode(document, pools)
  refuseShortGrace(document)
  const serviceRanges = parsePrefixes(document.serviceRanges, 'serviceRanges')
  refuseOverlaps(pools, serviceRanges)
  return {
    socketPath: document.socket,
    stateDir: document.stateDir,
    procSys: document.procSys,
    nodeName: document.node ?? hostName,
    pools,
    serviceRanges,
    allowedOverlaps: parsePrefixes(document.allowedOverlaps, 'allowedOverlaps'),
    history: {
      keepMs: (document.historyDays ?? DEFAULT_HISTORY_DAYS) * DAY_MS,
      maxRows: document.historyRows ?? DEFAULT_HISTORY_ROWS,
    },
    reconcile: {
      intervalMs: (document.reconcile?.intervalSeconds ?? DEFAULT_RECONCILE_SECONDS.interval) * 1000,
      graceMs: (document.reconcile?.graceSeconds ?? DEFAULT_RECONCILE_SECONDS.grace) * 1000,
    },
  }
}

function parseDocument(text: string): ConfigDocument {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch (cause) {
    throw new ConfigError(`not JSON: ${(cause as SyntaxError).message}`, { cause })
  }
  if (!validate(document)) throw new ConfigError(describe(document, validate.errors?.[0]))
  return document as ConfigDocument // the schema says so
}

/** What the schema refuses, in the words of our other refusals. */
function describe(document: unknown, error: ErrorObject | undefined): string {
  if (error === undefined) return `${shown(document)}: want a configuration of ipamd`
  const params = error.params as Readonly<Record<string, unknown>>
  const path = error.instancePath.split('/').slice(1)
  switch (error.keyword) {
    case 'additionalProperties':
      return `${pathText([...path, String(params['additionalProperty'])])}: unknown key`
    case 'required':
      return `${pathText([...path, String(params['missingProperty'])])}: missing`
    case 'type':
      return `${pathText(path)}: ${shown(valueAt(document, path))}: want ${String(params['type'])}`
    case 'enum':
      return `${pathText(path)}: ${shown(valueAt(document, path))}: want one of ${(params['allowedValues'] as readonly string[]).join(', ')}`
    case 'pattern':
      return `${pathText(path)}: ${shown(valueAt(document, path))}: want text that matches ${String(params['pattern'])}`
    default:
      return `${pathText(path)}: ${shown(valueAt(document, path))}: ${error.message ?? error.keyword}`
  }
}

function pathText(path: readonly string[]): string {
  const text = path.map(part => (/^[0-9]+$/.test(part) ? `[${part}]` : `.${unescapePointer(part)}`)).join('')
  return text === '' ? 'configuration' : text.replace(/^\./, '')
}

function valueAt(document: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, part) => (value as Readonly<Record<string, unknown>>)[unescapePointer(part)],
    document,
  )
}

// RFC 6901, section 4.
function unescapePointer(part: string): string {
  return part.replaceAll('~1', '/').replaceAll('~0', '~')
}

function parsePool(document: PoolDocument & Required<Pick<PoolDocument, 'blockSource'>>, path: string): Pool {
  const blockSource = parseBlockSource(document.blockSource, `${path}.blockSource`)
  const isHandedOver = blockSource.type === 'kubernetes'
  if (isHandedOver) refuseOwnPrefixes(document, path)
  else if (document.prefixes === undefined) throw new ConfigError(`${path}.prefixes: missing`)
  const prefixes = (document.prefixes ?? []).map((text, index) =>
    parseAt(text, `${path}.prefixes[${index}]`, parsePrefix),
  )
  const exclude = (document.exclude ?? []).map((text, index) => {
    const excludePath = `${path}.exclude[${index}]`
    const prefix = parseAt(text, excludePath, parseAddressOrPrefix)
    // An exclusion without effect is a slip of the pen, and the address that was meant would be leased.
    if (!isHandedOver && !prefixes.some(each => overlaps(each, prefix))) {
      throw new ConfigError(`${excludePath}: ${shown(text)}: want something inside the prefixes of the pool`)
    }
    return prefix
  })
  return {
    name: document.name,
    blockSource,
    prefixes,
    blockPrefixLength: {
      4: blockPrefixLength(document, { family: 4, prefixes, path: `${path}.blockPrefixLength.ipv4` }),
      6: blockPrefixLength(document, { family: 6, prefixes, path: `${path}.blockPrefixLength.ipv6` }),
    },
    exclude,
    cooldownMs: (document.cooldownSeconds ?? DEFAULT_COOLDOWN_SECONDS) * 1000,
    maxBlocks: document.maxBlocks,
    whenOnlyCooling: document.whenOnlyCooling ?? 'wait',
  }
}

function parseBlockSource({ type, socket, pool }: BlockSourceDocument, path: string): BlockSource {
  if (type === 'socket') {
    if (socket === undefined) throw new ConfigError(`${path}.socket: missing`)
    refuseLongSocketPath(socket, `${path}.socket`)
    return { type, socket, pool }
  }
  for (const [key, value] of Object.entries({ socket, pool })) {
    if (value !== undefined) throw new ConfigError(`${path}.${key}: ${shown(value)}: want none beside type "${type}"`)
  }
  return { type }
}

/** Blocks that are handed over are as large and as many as the cluster says. */
function refuseOwnPrefixes(document: PoolDocument, path: string): void {
  for (const key of ['prefixes', 'blockPrefixLength', 'maxBlocks'] as const) {
    if (document[key] === undefined) continue
    throw new ConfigError(`${path}.${key}: ${shown(document[key])}: want none where the block source is "kubernetes"`)
  }
}

function blockPrefixLength(
  document: PoolDocument,
  { family, prefixes, path }: { family: Family; prefixes: readonly Prefix[]; path: string },
): number {
  const wanted = document.blockPrefixLength?.[family === 4 ? 'ipv4' : 'ipv6']
  if (wanted === undefined) return DEFAULT_BLOCK_PREFIX_LENGTH[family]
  const longer = prefixes.find(prefix => prefix.address.family === family && prefix.prefixLength > wanted)
  if (longer !== undefined) {
    throw new ConfigError(
      `${path}: ${wanted}: want at least ${longer.prefixLength}, the length of ${formatPrefix(longer)}`,
    )
  }
  return wanted
}

function parsePrefixes(texts: readonly string[] = [], path: string): readonly Prefix[] {
  return texts.map((text, index) => parseAt(text, `${path}[${index}]`, parsePrefix))
}

function parseAddressOrPrefix(text: string): Prefix {
  return text.includes('/') ? parsePrefix(text) : hostPrefix(parseAddress(text))
}

function parseAt<T>(text: string, path: string, parse: (text: string) => T): T {
  try {
    return parse(text)
  } catch (cause) {
    if (!(cause instanceof ParseError)) throw cause
    throw new ConfigError(`${path}: ${cause.message}`, { cause })
  }
}

function refuseRepeatedNames(pools: readonly Pool[]): void {
  const seen = new Set<string>()
  for (const [index, { name }] of pools.entries()) {
    if (seen.has(name)) throw new ConfigError(`pools[${index}].name: ${shown(name)}: an earlier pool has this name`)
    seen.add(name)
  }
}

function refuseLongSocketPath(text: string, path: string): void {
  if (Buffer.byteLength(text) <= MAX_SOCKET_PATH_BYTES) return
  throw new ConfigError(`${path}: ${shown(text)}: want at most ${MAX_SOCKET_PATH_BYTES} bytes`)
}

/** Nodes that share a machine share its name, and would be taken for one. Nor can a daemon grant blocks to itself. */
function refuseUnnamedNode({ node, socket }: ConfigDocument, pools: readonly Pool[]): void {
  for (const [index, { blockSource }] of pools.entries()) {
    if (blockSource?.type !== 'socket') continue
    if (node === undefined) throw new ConfigError(`node: missing, and pools[${index}] gets its blocks under that name`)
    if (blockSource.socket !== socket) continue
    throw new ConfigError(`pools[${index}].blockSource.socket: ${shown(socket)}: want another ipamd's socket`)
  }
}

// Within the grace an ADD that is under way is safe also where its lock can't be seen: it has ended, or given up, by then.
function refuseShortGrace({ socket, reconcile }: ConfigDocument): void {
  const grace = reconcile?.graceSeconds
  if (grace === undefined || grace >= MIN_GRACE_SECONDS_WITHOUT_LOCKS) return
  const locks = dirname(DEFAULT_SOCKET_PATH)
  if (dirname(socket) === locks) return
  throw new ConfigError(
    `reconcile.graceSeconds: ${grace}: want at least ${MIN_GRACE_SECONDS_WITHOUT_LOCKS} where the socket is not in ${locks}: the locks of ADD and DEL are there, and may be out of sight`,
  )
}

// A node has one set of pod CIDRs.
function refuseSecondHandedOver(pools: readonly Pool[]): void {
  const [first, second] = pools.filter(({ blockSource }) => blockSource?.type === 'kubernetes')
  if (first === undefined || second === undefined) return
  throw new ConfigError(
    `pools[${pools.indexOf(second)}].blockSource.type: "kubernetes": pool ${shown(first.name)} has it, want it once`,
  )
}

function refuseOverlaps(pools: readonly Pool[], serviceRanges: readonly Prefix[]): void {
  const all = [
    ...pools.flatMap(({ prefixes }, poolIndex) =>
      prefixes.map((prefix, index) => ({ path: `pools[${poolIndex}].prefixes[${index}]`, prefix })),
    ),
    ...serviceRanges.map((prefix, index) => ({ path: `serviceRanges[${index}]`, prefix })),
  ]
  for (const [index, { path, prefix }] of all.entries()) {
    const other = all.slice(0, index).find(each => overlaps(each.prefix, prefix))
    if (other === undefined) continue
    throw new ConfigError(`${path}: "${formatPrefix(prefix)}": overlaps ${other.path}, "${formatPrefix(other.prefix)}"`)
  }
}

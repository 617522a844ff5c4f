import { formatAddressRange, type AddressRange } from '../net/address-range.ts'
import { formatAddress, parseAddress, type Address, type Family } from '../net/address.ts'
import { parsePrefix, formatPrefix, type Prefix } from '../net/prefix.ts'
import { quoteText } from '../net/quote-text.ts'
import { checkCniName, type AttachmentKey } from './attachment.ts'
import { Fields, parsedAt, shown } from './fields.ts'
import { attachmentFromWire, attachmentToWire, leaseFromWire, leaseToWire, type Lease } from './lease.ts'
import { singleValues } from './query.ts'
import { ParseError } from '../net/parse-error.ts'
import { parseIfName } from '../net/if-name.ts'

/*
 * What goes over ipamd's Unix socket: HTTP/1.1 with JSON bodies. Refusals are problem documents (errors.ts).
 *
 * Requests are read strictly: an unknown member is refused, because the daemon must not drop something that the caller
 * relied on. Replies are read leniently: an unknown member comes from a newer daemon. All parse functions throw ParseError
 * with the path, the value and what was wanted.
 */

/** Paths of the API. */
export const PATHS = {
  leases: '/v1/leases',
  release: '/v1/leases/release',
  collect: '/v1/leases/collect',
  pools: '/v1/pools',
  status: '/v1/status',
  blocks: '/v1/blocks',
  podCidrs: '/v1/pod-cidrs',
  grants: '/v1/grants',
  endGrants: '/v1/grants/end',
  history: '/v1/history',
  events: '/v1/events',
  check: '/v1/check',
  reconcile: '/v1/reconcile',
  reservations: '/v1/reservations',
  endReservation: '/v1/reservations/end',
  backup: '/v1/backup',
  cni: '/v1/cni',
  served: '/v1/served',
  openapi: '/v1/openapi.json',
  metrics: '/metrics',
  health: '/healthz',
  readiness: '/readyz',
} as const

/** Largest request body that ipamd reads: a GC with the attachments of some ten thousand containers. */
export const MAX_BODY_BYTES = 1024 * 1024

/** Longest time for which an address is kept for its last owner: 30 days. */
export const MAX_STICKY_SECONDS = 2_592_000

/** The most ranges that one request may name. */
export const MAX_RANGES = 64

/** Longest name of a pool, and of what Kubernetes has a name for. */
export const MAX_NAME_LENGTH = 253

/** A namespace and a name of Kubernetes, with the slash between them. */
const MAX_OWNER_LENGTH = 507

/** The Kubernetes pod that an attachment belongs to, for people who read leases; no decision rests on it. */
export interface PodReference {
  readonly namespace: string
  readonly name: string
  readonly uid?: string | undefined
}

/** POST /v1/leases: an address of each family of the pool, or none. The same attachment gets the same lease again. */
export interface AllocateRequest {
  readonly attachment: AttachmentKey
  /** Absent: the first pool that ipamd has. */
  readonly pool?: string | undefined
  /** After this moment nothing is allocated any more. */
  readonly deadlineUnixMs?: number | undefined
  readonly pod?: PodReference | undefined
  /**
   * Exactly these addresses, at most one of each family; a family that is not named gets any. An attachment that holds others
   * is refused.
   */
  readonly addresses?: readonly Address[] | undefined
  /**
   * The address of a family comes from one of the ranges of that family; a family that has none here gets any. The pool must
   * have all of each range.
   */
  readonly within?: readonly AddressRange[] | undefined
  /** Whose the lease is, "namespace/name" for a pod: gets what is reserved or kept for this owner. */
  readonly owner?: string | undefined
  /** How long the addresses are kept for the owner after the release; wants an owner. Absent: not at all. */
  readonly stickySeconds?: number | undefined
  /** The plugin that asks. It tells the daemon whether the attachment's interface will be one of ours. */
  readonly via?: 'tulle' | 'tulle-ipam' | undefined
  /** The inode of the network namespace in which the plugin runs. */
  readonly hostNetnsInode?: number | undefined
}

export interface AllocateReply {
  readonly lease: Lease
  /** False when the attachment held the lease already. */
  readonly isNew: boolean
}

/** POST /v1/leases/release. When `addresses` is given and is not exactly what the lease has, nothing is freed. */
export interface ReleaseRequest {
  readonly attachment: AttachmentKey
  readonly addresses?: readonly Address[] | undefined
  /** After this moment nothing is freed any more: the caller has given up, and the attachment may have a new lease. */
  readonly deadlineUnixMs?: number | undefined
  /** True when a person ends the lease, and not a DEL: the history says so. */
  readonly isForced?: boolean | undefined
}

export interface ReleaseReply {
  /** False when the attachment has no lease, or has other addresses than those named. */
  readonly released: boolean
}

/** POST /v1/leases/collect: frees every lease of `network` whose attachment is not in `valid` (checklist G1, G7). */
export interface CollectRequest {
  readonly network: string
  readonly valid: readonly { readonly containerId: string; readonly ifName: string }[]
  /** After this moment nothing is freed any more: an attachment that is younger than the list is not in it. */
  readonly deadlineUnixMs?: number | undefined
}

export interface CollectReply {
  readonly released: readonly AttachmentKey[]
}

/** GET /v1/leases: the leases that match every part that is given. */
export interface LeaseFilter {
  readonly network?: string | undefined
  readonly containerId?: string | undefined
  readonly ifName?: string | undefined
}

export interface LeasesReply {
  readonly leases: readonly Lease[]
}

/** GET /v1/pools. */
export interface PoolReport {
  readonly name: string
  readonly prefixes: readonly Prefix[]
  readonly blocks: readonly { readonly prefix: Prefix }[]
  /** Leases, each of one address of each family. */
  readonly leased: number
  /** Addresses that were released too short a time ago, in the family that has more of them. */
  readonly cooling: number
  /** How many leases the pool could hold. */
  readonly capacity: bigint
  /** Addresses, family by family. Absent in the answer of an older daemon. */
  readonly families?: readonly FamilyReport[] | undefined
}

/** The addresses of one family of a pool. */
export interface FamilyReport {
  readonly family: Family
  readonly leased: number
  /** Released too short a time ago. */
  readonly cooling: number
  readonly capacity: bigint
}

export interface PoolsReply {
  readonly pools: readonly PoolReport[]
}

export function allocateRequestToWire(request: AllocateRequest): object {
  const { attachment, addresses, within } = request
  return {
    ...request,
    attachment: attachmentToWire(attachment),
    addresses: addresses?.map(formatAddress),
    within: within?.map(({ first, last }) => ({ first: formatAddress(first), last: formatAddress(last) })),
  }
}

export function parseAllocateRequest(value: unknown): AllocateRequest {
  const fields = Fields.of(value, 'request').only([
    'attachment',
    'pool',
    'deadlineUnixMs',
    'pod',
    'addresses',
    'within',
    'owner',
    'stickySeconds',
    'via',
    'hostNetnsInode',
  ])
  return {
    attachment: strictAttachment(fields.object('attachment')),
    pool: fields.optionalParsed('pool', checkLength),
    deadlineUnixMs: fields.optionalCount('deadlineUnixMs'),
    pod: optionalPod(fields.optionalObject('pod')),
    addresses: optionalOfEachFamily(fields, 'addresses'),
    within: optionalRanges(fields, 'within'),
    owner: fields.optionalParsed('owner', checkOwner),
    stickySeconds: optionalStickySeconds(fields),
    via: fields.optionalParsed('via', parseVia),
    hostNetnsInode: fields.optionalCount('hostNetnsInode'),
  }
}

function parseVia(text: string): 'tulle' | 'tulle-ipam' {
  if (text !== 'tulle' && text !== 'tulle-ipam') throw new ParseError(`${quoteText(text)}: want tulle or tulle-ipam`)
  return text
}

function optionalOfEachFamily(fields: Fields, key: string): readonly Address[] | undefined {
  const addresses = fields.optionalList(key, (item, path) => parsedAt(item, path, parseAddress))
  const families = addresses?.map(address => address.family)
  if (families !== undefined && new Set(families).size !== families.length) {
    throw new ParseError(`${fields.path}.${key}: ${shown(fields.value[key])}: want at most one address of each family`)
  }
  return addresses
}

function optionalRanges(fields: Fields, key: string): readonly AddressRange[] | undefined {
  const ranges = fields.optionalList(key, parseRange)
  if (ranges === undefined || ranges.length <= MAX_RANGES) return ranges?.length === 0 ? undefined : ranges
  throw new ParseError(`${fields.path}.${key}: ${ranges.length} ranges: want at most ${MAX_RANGES}`)
}

function parseRange(value: unknown, path: string): AddressRange {
  const fields = Fields.of(value, path).only(['first', 'last'])
  const range = { first: fields.parsed('first', parseAddress), last: fields.parsed('last', parseAddress) }
  if (range.first.family === range.last.family && range.first.value <= range.last.value) return range
  throw new ParseError(`${path}: ${formatAddressRange(range)}: want two addresses of one family, the lower one first`)
}

function optionalStickySeconds(fields: Fields): number | undefined {
  const seconds = fields.optionalCount('stickySeconds')
  if (seconds === undefined || seconds === 0) return undefined
  const path = `${fields.path}.stickySeconds: ${seconds}`
  if (seconds > MAX_STICKY_SECONDS) throw new ParseError(`${path}: want at most ${MAX_STICKY_SECONDS}`)
  if (fields.optionalString('owner') === undefined) throw new ParseError(`${path}: want an owner beside it`)
  return seconds
}

/** @throws {ParseError} for an owner that is empty or too long. */
export function checkOwner(text: string): string {
  if (text === '' || text.length > MAX_OWNER_LENGTH) {
    throw new ParseError(`${quoteText(text)}: want 1 to ${MAX_OWNER_LENGTH} characters`)
  }
  return text
}

export function allocateReplyToWire(reply: AllocateReply): object {
  return { lease: leaseToWire(reply.lease), isNew: reply.isNew }
}

export function parseAllocateReply(value: unknown): AllocateReply {
  const fields = Fields.of(value, 'reply')
  return { lease: leaseFromWire(fields.value['lease'], 'reply.lease'), isNew: fields.boolean('isNew') }
}

export function releaseRequestToWire(request: ReleaseRequest): object {
  const { attachment, addresses, deadlineUnixMs, isForced } = request
  return {
    attachment: attachmentToWire(attachment),
    addresses: addresses?.map(formatAddress),
    deadlineUnixMs,
    isForced,
  }
}

export function parseReleaseRequest(value: unknown): ReleaseRequest {
  const fields = Fields.of(value, 'request').only(['attachment', 'addresses', 'deadlineUnixMs', 'isForced'])
  return {
    attachment: strictAttachment(fields.object('attachment')),
    addresses: fields.optionalList('addresses', (item, path) => parsedAt(item, path, parseAddress)),
    deadlineUnixMs: fields.optionalCount('deadlineUnixMs'),
    ...(fields.value['isForced'] === undefined ? {} : { isForced: fields.boolean('isForced') }),
  }
}

export function releaseReplyToWire(reply: ReleaseReply): object {
  return { released: reply.released }
}

export function parseReleaseReply(value: unknown): ReleaseReply {
  return { released: Fields.of(value, 'reply').boolean('released') }
}

export function collectRequestToWire(request: CollectRequest): object {
  const { network, valid, deadlineUnixMs } = request
  return { network, valid: valid.map(({ containerId, ifName }) => ({ containerId, ifName })), deadlineUnixMs }
}

export function parseCollectRequest(value: unknown): CollectRequest {
  const fields = Fields.of(value, 'request').only(['network', 'valid', 'deadlineUnixMs'])
  return {
    network: fields.parsed('network', text => checkCniName('network', text)),
    // Not optional: a missing list must never read as "nothing is valid" (checklist G3).
    valid: fields.list('valid', parseValidAttachment),
    deadlineUnixMs: fields.optionalCount('deadlineUnixMs'),
  }
}

function parseValidAttachment(item: unknown, path: string): { readonly containerId: string; readonly ifName: string } {
  // Not checked further: a name that CNI does not allow can't be that of a lease, so it keeps nothing alive and frees nothing.
  const fields = Fields.of(item, path).only(['containerId', 'ifName'])
  return { containerId: fields.string('containerId'), ifName: fields.string('ifName') }
}

export function collectReplyToWire(reply: CollectReply): object {
  return { released: reply.released.map(attachmentToWire) }
}

export function parseCollectReply(value: unknown): CollectReply {
  const released = Fields.of(value, 'reply').list('released', (item, path) => attachmentFromWire(Fields.of(item, path)))
  return { released }
}

/** The query of GET /v1/leases, with its leading '?', or '' when nothing is asked for. */
export function leaseFilterToQuery(filter: LeaseFilter): string {
  const query = new URLSearchParams()
  for (const key of FILTER_KEYS) {
    const value = filter[key]
    if (value !== undefined) query.set(key, value)
  }
  return query.size === 0 ? '' : `?${query.toString()}`
}

export function parseLeaseFilter(query: URLSearchParams): LeaseFilter {
  const values = singleValues(query, FILTER_KEYS)
  const network = values.get('network')
  const containerId = values.get('containerId')
  const ifName = values.get('ifName')
  return {
    network: network === undefined ? undefined : checkCniName('query.network', network),
    containerId: containerId === undefined ? undefined : checkCniName('query.containerId', containerId),
    ifName: ifName === undefined ? undefined : parsedAt(ifName, 'query.ifName', parseIfName),
  }
}

const FILTER_KEYS = ['network', 'containerId', 'ifName'] as const

export function leasesReplyToWire(reply: LeasesReply): object {
  return { leases: reply.leases.map(leaseToWire) }
}

export function parseLeasesReply(value: unknown): LeasesReply {
  return { leases: Fields.of(value, 'reply').list('leases', leaseFromWire) }
}

export function poolsReplyToWire(reply: PoolsReply): object {
  const pools = reply.pools.map(pool => ({
    ...pool,
    prefixes: pool.prefixes.map(formatPrefix),
    blocks: pool.blocks.map(block => ({ prefix: formatPrefix(block.prefix) })),
    // Text: a /56 holds more addresses than a JSON number counts.
    capacity: pool.capacity.toString(),
    families: pool.families?.map(family => ({ ...family, capacity: family.capacity.toString() })),
  }))
  return { pools }
}

export function parsePoolsReply(value: unknown): PoolsReply {
  return { pools: Fields.of(value, 'reply').list('pools', parsePoolReport) }
}

function parsePoolReport(value: unknown, path: string): PoolReport {
  const fields = Fields.of(value, path)
  return {
    name: fields.string('name'),
    prefixes: fields.list('prefixes', (item, at) => parsedAt(item, at, parsePrefix)),
    blocks: fields.list('blocks', (item, at) => ({ prefix: Fields.of(item, at).parsed('prefix', parsePrefix) })),
    leased: fields.count('leased'),
    cooling: fields.count('cooling'),
    capacity: fields.parsed('capacity', parseDecimal),
    families: fields.optionalList('families', parseFamilyReport),
  }
}

function parseFamilyReport(value: unknown, path: string): FamilyReport {
  const fields = Fields.of(value, path)
  const family = fields.count('family')
  if (family !== 4 && family !== 6) throw new ParseError(`${path}.family: ${family}: want 4 or 6`)
  return {
    family,
    leased: fields.count('leased'),
    cooling: fields.count('cooling'),
    capacity: fields.parsed('capacity', parseDecimal),
  }
}

function parseDecimal(text: string): bigint {
  if (!/^[0-9]{1,40}$/.test(text)) throw new ParseError(`${quoteText(text)}: want a decimal number`)
  return BigInt(text)
}

/** The pool that GET /v1/status asks about; undefined is the first that ipamd has. */
export function parseStatusQuery(query: URLSearchParams): string | undefined {
  const pool = singleValues(query, ['pool']).get('pool')
  return pool === undefined ? undefined : parsedAt(pool, 'query.pool', checkLength)
}

/** The path and query of GET /v1/status. */
export function statusPath(pool: string | undefined): string {
  return pool === undefined ? PATHS.status : `${PATHS.status}?${new URLSearchParams({ pool }).toString()}`
}

function strictAttachment(fields: Fields): AttachmentKey {
  return attachmentFromWire(fields.only(['network', 'containerId', 'ifName']))
}

function optionalPod(fields: Fields | undefined): PodReference | undefined {
  if (fields === undefined) return undefined
  fields.only(['namespace', 'name', 'uid'])
  return {
    namespace: boundedText(fields, 'namespace'),
    name: boundedText(fields, 'name'),
    uid: fields.optionalParsed('uid', checkLength),
  }
}

function boundedText(fields: Fields, key: string): string {
  return fields.parsed(key, checkLength)
}

/** @throws {ParseError} for a name that no pool can have. */
export function checkPoolName(text: string): string {
  return checkLength(text)
}

// What is stored with each lease, or repeated in a message, must be bounded.
function checkLength(text: string): string {
  if (text.length > MAX_NAME_LENGTH) {
    throw new ParseError(`${quoteText(text)}: want at most ${MAX_NAME_LENGTH} characters`)
  }
  return text
}

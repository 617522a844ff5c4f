import { formatAddress, parseAddress, type Address } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { ParseError } from '../net/parse-error.ts'
import { formatPrefix, parsePrefix, type Prefix } from '../net/prefix.ts'
import { checkCniName, type AttachmentKey } from './attachment.ts'
import { Fields, parsedAt } from './fields.ts'
import { attachmentFromWire, attachmentToWire, leaseFromWire, leaseToWire, type Lease } from './lease.ts'
import type { LeaseFilter, PodReference } from './protocol.ts'
import { parseLimit, parseMoment, parseWholeNumber, singleValues } from './query.ts'

/*
 * What GET /v1/leases, /v1/blocks, /v1/history and /v1/events answer, for people and programs that look at the daemon. Nothing
 * here changes anything. The rules are those of protocol.ts: queries are read strictly, replies leniently.
 */

/** The most leases that one reply has: some 3 MB of JSON. More are read page by page. */
export const MAX_LEASES_PER_PAGE = 10_000
/** The most tenures that one reply has. */
export const MAX_TENURES_PER_PAGE = 1000

/** GET /v1/leases: the leases that match every part that is given, oldest first. */
export interface LeaseQuery extends LeaseFilter {
  readonly pool?: string | undefined
  readonly podNamespace?: string | undefined
  readonly podName?: string | undefined
  readonly address?: Address | undefined
  /** At most so many. */
  readonly limit: number
  /** Only leases whose id is above this one: `next` of the page before. */
  readonly after: number
}

/** A lease, with what the store knows of it beside. */
export interface LeaseRecord extends Lease {
  /** Rises with each lease, and is never used again. */
  readonly id: number
  readonly pod?: PodReference | undefined
}

export interface LeasePage {
  readonly leases: readonly LeaseRecord[]
  /** What `after` is to be for the page behind this one; undefined on the last page. */
  readonly next?: number | undefined
}

/** GET /v1/blocks: a block of this node, or one that another node was granted. */
export interface BlockReport {
  readonly prefix: Prefix
  readonly pool: string
  /** The other node that has the block, and counts its leases itself. */
  readonly node?: string | undefined
  readonly takenAtUnixMs: number
  /** Addresses of the block that are leased. */
  readonly leased: number
  /** Addresses of the block that were leased once and are not now, whether or not their cooldown is over. */
  readonly freed: number
}

/**
 * One row of the record of changes. `kind` is 'block-taken', 'block-returned', 'leased', 'released', 'reserved', 'unreserved', or
 * one that a newer daemon knows.
 */
export interface EventRecord {
  readonly id: number
  readonly atUnixMs: number
  readonly kind: string
  /** Why, where there is more than one reason: 'del', 'spool', 'collect', 'reconcile', 'force' for a release. */
  readonly reason?: string | undefined
  /** For a person: what was seen that led to it. */
  readonly detail?: string | undefined
  readonly pool: string
  readonly block?: string | undefined
  readonly address?: Address | undefined
  readonly attachment?: AttachmentKey | undefined
  readonly pod?: PodReference | undefined
  /** Whom the address is reserved for, or may be leased to again. */
  readonly owner?: string | undefined
}

/** GET /v1/history: whose addresses, and when. At least one of `address` and `containerId` is given. */
export interface HistoryQuery {
  readonly address?: Address | undefined
  readonly network?: string | undefined
  readonly containerId?: string | undefined
  readonly ifName?: string | undefined
  /** Only who held the address at this moment. */
  readonly atUnixMs?: number | undefined
  readonly limit: number
}

/** The time in which one attachment held one address. */
export interface Tenure {
  readonly address: Address
  readonly block: string
  readonly pool: string
  readonly attachment: AttachmentKey
  readonly pod?: PodReference | undefined
  /** Undefined when the beginning is older than the record of changes. */
  readonly leasedAtUnixMs?: number | undefined
  /** Undefined while it lasts. */
  readonly releasedAtUnixMs?: number | undefined
  /** Why it ended. */
  readonly reason?: string | undefined
  /** For a person: what was seen that led to its end. */
  readonly detail?: string | undefined
}

export interface HistoryReply {
  /** The latest first. */
  readonly tenures: readonly Tenure[]
  /** True when there are older ones beyond the limit. */
  readonly hasMore: boolean
}

const LEASE_QUERY_KEYS = [
  'network',
  'containerId',
  'ifName',
  'pool',
  'podNamespace',
  'podName',
  'address',
  'limit',
  'after',
]

export function parseLeaseQuery(query: URLSearchParams): LeaseQuery {
  const value = reader(query, LEASE_QUERY_KEYS)
  return {
    ...attachmentParts(value),
    pool: value('pool', checkLength),
    podNamespace: value('podNamespace', checkLength),
    podName: value('podName', checkLength),
    address: value('address', parseAddress),
    limit: value('limit', parseLimit(MAX_LEASES_PER_PAGE)) ?? MAX_LEASES_PER_PAGE,
    after: value('after', parseWholeNumber) ?? 0,
  }
}

export function leasePageToWire({ leases, next }: LeasePage): object {
  return { leases: leases.map(({ id, pod, ...lease }) => ({ id, ...leaseToWire(lease), pod })), next }
}

export function parseLeasePage(value: unknown): LeasePage {
  const fields = Fields.of(value, 'reply')
  return { leases: fields.list('leases', leaseRecordFromWire), next: fields.optionalCount('next') }
}

function leaseRecordFromWire(value: unknown, path: string): LeaseRecord {
  const fields = Fields.of(value, path)
  return { ...leaseFromWire(value, path), id: fields.count('id'), pod: podFromWire(fields) }
}

/** GET /v1/blocks takes no parameters. */
export function parseEmptyQuery(query: URLSearchParams): void {
  const [name] = query.keys()
  if (name !== undefined) throw new ParseError(`query.${name.slice(0, 80)}: unknown parameter, want none`)
}

export function blocksReplyToWire(blocks: readonly BlockReport[]): object {
  return { blocks: blocks.map(block => ({ ...block, prefix: formatPrefix(block.prefix) })) }
}

export function parseBlocksReply(value: unknown): readonly BlockReport[] {
  return Fields.of(value, 'reply').list('blocks', (item, path) => {
    const fields = Fields.of(item, path)
    return {
      prefix: fields.parsed('prefix', parsePrefix),
      pool: fields.string('pool'),
      node: fields.optionalString('node'),
      takenAtUnixMs: fields.count('takenAtUnixMs'),
      leased: fields.count('leased'),
      freed: fields.count('freed'),
    }
  })
}

export function parseHistoryQuery(query: URLSearchParams): HistoryQuery {
  const value = reader(query, ['address', 'network', 'containerId', 'ifName', 'at', 'limit'])
  const parts = attachmentParts(value)
  const address = value('address', parseAddress)
  if (address === undefined && parts.containerId === undefined) {
    throw new ParseError('query: want address, containerId or both')
  }
  const limit = value('limit', parseLimit(MAX_TENURES_PER_PAGE)) ?? MAX_TENURES_PER_PAGE
  return { ...parts, address, atUnixMs: value('at', parseMoment), limit }
}

export function historyReplyToWire({ tenures, hasMore }: HistoryReply): object {
  return { tenures: tenures.map(tenure => ({ ...tenure, address: formatAddress(tenure.address) })), hasMore }
}

export function parseHistoryReply(value: unknown): HistoryReply {
  const fields = Fields.of(value, 'reply')
  return { tenures: fields.list('tenures', tenureFromWire), hasMore: fields.boolean('hasMore') }
}

function tenureFromWire(value: unknown, path: string): Tenure {
  const fields = Fields.of(value, path)
  return {
    address: fields.parsed('address', parseAddress),
    block: fields.string('block'),
    pool: fields.string('pool'),
    attachment: attachmentFromWire(fields.object('attachment')),
    pod: podFromWire(fields),
    leasedAtUnixMs: fields.optionalCount('leasedAtUnixMs'),
    releasedAtUnixMs: fields.optionalCount('releasedAtUnixMs'),
    reason: fields.optionalString('reason'),
    detail: fields.optionalString('detail'),
  }
}

/** After which event a stream begins; undefined: only what happens from now on. */
export function parseEventsQuery(query: URLSearchParams): number | undefined {
  return reader(query, ['since'])('since', parseWholeNumber)
}

export function eventToWire(event: EventRecord): object {
  return {
    ...event,
    address: event.address === undefined ? undefined : formatAddress(event.address),
    attachment: event.attachment === undefined ? undefined : attachmentToWire(event.attachment),
  }
}

/** Reads the data of one event of GET /v1/events. */
export function eventFromWire(value: unknown): EventRecord {
  const fields = Fields.of(value, 'event')
  const attachment = fields.optionalObject('attachment')
  return {
    id: fields.count('id'),
    atUnixMs: fields.count('atUnixMs'),
    kind: fields.string('kind'),
    reason: fields.optionalString('reason'),
    detail: fields.optionalString('detail'),
    pool: fields.string('pool'),
    block: fields.optionalString('block'),
    address: fields.optionalParsed('address', parseAddress),
    attachment: attachment === undefined ? undefined : attachmentFromWire(attachment),
    pod: podFromWire(fields),
    owner: fields.optionalString('owner'),
  }
}

type Reader = <T>(key: string, parse: (text: string) => T) => T | undefined

/** Reads one parameter after the other; a refusal begins with the name of the parameter. */
function reader(query: URLSearchParams, known: readonly string[]): Reader {
  const values = singleValues(query, known)
  return (key, parse) => {
    const text = values.get(key)
    return text === undefined ? undefined : parsedAt(text, `query.${key}`, parse)
  }
}

function attachmentParts(value: Reader): LeaseFilter {
  const network = value('network', text => text)
  const containerId = value('containerId', text => text)
  return {
    network: network === undefined ? undefined : checkCniName('query.network', network),
    containerId: containerId === undefined ? undefined : checkCniName('query.containerId', containerId),
    ifName: value('ifName', parseIfName),
  }
}

function podFromWire(fields: Fields): PodReference | undefined {
  const pod = fields.optionalObject('pod')
  return pod === undefined
    ? undefined
    : { namespace: pod.string('namespace'), name: pod.string('name'), uid: pod.optionalString('uid') }
}

function checkLength(text: string): string {
  if (text.length > 253) throw new ParseError(`${JSON.stringify(text.slice(0, 80))}: want at most 253 characters`)
  return text
}

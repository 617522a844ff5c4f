import type { Family } from '../net/address.ts'
import { ParseError } from '../net/parse-error.ts'
import { formatPrefix, parsePrefix, type Prefix } from '../net/prefix.ts'
import { quoteText } from '../net/quote-text.ts'
import { Fields, parsedAt, shown } from './fields.ts'
import { checkPoolName } from './protocol.ts'

/*
 * How one ipamd gets blocks from another one, POST /v1/grants, and how a person ends what a node was granted, POST
 * /v1/grants/end. The rules are those of protocol.ts.
 *
 * Each request says all that the node holds, so that there is nothing to retry: a block that was granted in an answer which got
 * lost is not among them and is granted again, and one that was given back is not among them and is free.
 */

/** POST /v1/grants. */
export interface GrantRequest {
  readonly node: string
  /** Tells two daemons apart that were given one node name by mistake. */
  readonly instance: string
  /** Rises with each request of the node: one that comes late, when its answer is not waited for any more, is refused. */
  readonly sequence: number
  /** Absent: the first pool that the upstream has. */
  readonly pool?: string | undefined
  /** Every block of the pool that the node has. Whatever else it was granted is free from now on. */
  readonly holds: readonly Prefix[]
  /** A block of each of these families is wanted, of all or of none. */
  readonly wants: readonly Family[]
}

export interface GrantReply {
  readonly pool: string
  readonly granted: readonly Prefix[]
}

/** More blocks than a node ever has of one pool. */
const MAX_HOLDS = 20_000

export function grantRequestToWire({ holds, ...request }: GrantRequest): object {
  return { ...request, holds: holds.map(formatPrefix) }
}

export function parseGrantRequest(value: unknown): GrantRequest {
  const fields = Fields.of(value, 'request').only(['node', 'instance', 'sequence', 'pool', 'holds', 'wants'])
  const holds = fields.list('holds', parsePrefixAt)
  if (holds.length > MAX_HOLDS) throw new ParseError(`request.holds: ${holds.length} blocks: want at most ${MAX_HOLDS}`)
  const wants = fields.list('wants', parseFamily)
  if (new Set(wants).size !== wants.length) {
    throw new ParseError(`request.wants: ${shown(fields.value['wants'])}: want each family at most once`)
  }
  return {
    node: fields.parsed('node', checkNode),
    instance: fields.parsed('instance', checkNode),
    sequence: fields.count('sequence'),
    pool: fields.optionalParsed('pool', checkPoolName),
    holds,
    wants,
  }
}

export function grantReplyToWire({ pool, granted }: GrantReply): object {
  return { pool, granted: granted.map(formatPrefix) }
}

export function parseGrantReply(value: unknown): GrantReply {
  const fields = Fields.of(value, 'reply')
  return { pool: fields.string('pool'), granted: fields.list('granted', parsePrefixAt) }
}

/** The node whose grants end. */
export function parseEndGrantsRequest(value: unknown): string {
  return Fields.of(value, 'request').only(['node']).parsed('node', checkNode)
}

/** The blocks that are free again. */
export function parseEndGrantsReply(value: unknown): readonly Prefix[] {
  return Fields.of(value, 'reply').list('ended', parsePrefixAt)
}

/** @throws {ParseError} for a name that no node can have. */
export function checkNode(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$/.test(text))
    throw new ParseError(`${quoteText(text)}: want the name of a node`)
  return text
}

function parsePrefixAt(item: unknown, path: string): Prefix {
  return parsedAt(item, path, parsePrefix)
}

function parseFamily(item: unknown, path: string): Family {
  if (item !== 4 && item !== 6) throw new ParseError(`${path}: ${shown(item)}: want 4 or 6`)
  return item
}

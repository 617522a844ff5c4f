import { formatPrefix, parsePrefix, type Prefix } from '../net/prefix.ts'
import { ParseError } from '../net/parse-error.ts'
import { checkPoolName } from './protocol.ts'
import { Fields, parsedAt, shown } from './fields.ts'
import { singleValues } from './query.ts'

/*
 * PUT and GET /v1/pod-cidrs: the node's pod CIDRs, from whoever knows what the cluster gave to the node. Only a pool with the
 * block source "kubernetes" takes them, and a configuration has at most one. The rules are those of protocol.ts.
 */

/** PUT /v1/pod-cidrs: from now on new leases come from these, and from nothing else. The same again changes nothing. */
export interface PodCidrsRequest {
  /** One or two, at most one of each family. */
  readonly podCidrs: readonly Prefix[]
  /** Absent: the pool that takes pod CIDRs. */
  readonly pool?: string | undefined
}

export interface PodCidrsReply {
  readonly pool: string
  /** Where new leases come from; empty before the first hand-over. */
  readonly podCidrs: readonly Prefix[]
  /** Blocks of earlier pod CIDRs: their leases live on, nothing new comes from them, and each goes when it is empty. */
  readonly draining: readonly Prefix[]
}

export function podCidrsRequestToWire({ podCidrs, pool }: PodCidrsRequest): object {
  return { podCidrs: podCidrs.map(formatPrefix), pool }
}

export function parsePodCidrsRequest(value: unknown): PodCidrsRequest {
  const fields = Fields.of(value, 'request').only(['podCidrs', 'pool'])
  const podCidrs = fields.list('podCidrs', parsePrefixAt)
  const families = podCidrs.map(({ address }) => address.family)
  // None is not "no address for anybody": it is a caller that does not know them yet.
  if (podCidrs.length === 0 || new Set(families).size !== families.length) {
    throw new ParseError(`request.podCidrs: ${shown(fields.value['podCidrs'])}: want one or two, at most one a family`)
  }
  return { podCidrs, pool: fields.optionalParsed('pool', checkPoolName) }
}

export function podCidrsReplyToWire({ pool, podCidrs, draining }: PodCidrsReply): object {
  return { pool, podCidrs: podCidrs.map(formatPrefix), draining: draining.map(formatPrefix) }
}

export function parsePodCidrsReply(value: unknown): PodCidrsReply {
  const fields = Fields.of(value, 'reply')
  return {
    pool: fields.string('pool'),
    podCidrs: fields.list('podCidrs', parsePrefixAt),
    draining: fields.list('draining', parsePrefixAt),
  }
}

/** The pool that GET /v1/pod-cidrs asks about; undefined is the one that takes pod CIDRs. */
export function parsePodCidrsQuery(query: URLSearchParams): string | undefined {
  const pool = singleValues(query, ['pool']).get('pool')
  return pool === undefined ? undefined : parsedAt(pool, 'query.pool', checkPoolName)
}

function parsePrefixAt(item: unknown, path: string): Prefix {
  return parsedAt(item, path, parsePrefix)
}

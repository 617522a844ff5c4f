import type { Fallback } from './fallback.ts'
import { Fields } from './fields.ts'

/** Calls of one kind that the plugin did without ipamd. */
export interface FallbackCount extends Fallback {
  readonly calls: number
  /** When ipamd last learnt of some, in unix milliseconds. */
  readonly lastSeenUnixMs: number
}

/** How often something happened. */
export interface TallyCount {
  readonly name: string
  readonly times: number
  readonly lastUnixMs: number
}

/** The answer of GET /v1/served: calls of the CNI plugin that ipamd does, those that it could not do, and what it keeps right for pods. */
export interface ServedReply {
  /** Calls that are being done now. */
  readonly atWork: number
  /** Calls that wait for their turn. */
  readonly waiting: number
  /** Since ipamd started. Empty when all is well. */
  readonly fallbacks: readonly FallbackCount[]
  /** Calls that ipamd was asked to do and left to the plugin, by reason, since it started. Absent in the answer of an older daemon. */
  readonly declined?: readonly TallyCount[] | undefined
  /** What ipamd has put right in our nftables table since it started, by what was wrong. Absent in the answer of an older daemon. */
  readonly repairs?: readonly TallyCount[] | undefined
}

export function servedReplyToWire(reply: ServedReply): object {
  return reply
}

/** @throws {ParseError} */
export function parseServedReply(value: unknown): ServedReply {
  const fields = Fields.of(value, 'reply')
  return {
    atWork: fields.count('atWork'),
    waiting: fields.count('waiting'),
    fallbacks: fields.list('fallbacks', (item, path) => {
      const fallback = Fields.of(item, path)
      return {
        verb: fallback.string('verb'),
        reason: fallback.string('reason'),
        calls: fallback.count('calls'),
        lastSeenUnixMs: fallback.count('lastSeenUnixMs'),
      }
    }),
    declined: fields.optionalList('declined', parseTallyCount),
    repairs: fields.optionalList('repairs', parseTallyCount),
  }
}

function parseTallyCount(value: unknown, path: string): TallyCount {
  const fields = Fields.of(value, path)
  return { name: fields.string('name'), times: fields.count('times'), lastUnixMs: fields.count('lastUnixMs') }
}

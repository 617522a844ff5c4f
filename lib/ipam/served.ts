import type { Fallback } from './fallback.ts'
import { Fields } from './fields.ts'

/** Calls of one kind that the plugin did without ipamd. */
export interface FallbackCount extends Fallback {
  readonly calls: number
  /** When ipamd last learnt of some, in unix milliseconds. */
  readonly lastSeenUnixMs: number
}

/** The answer of GET /v1/served: calls of the CNI plugin that ipamd does, and those that it could not do. */
export interface ServedReply {
  /** Calls that are being done now. */
  readonly atWork: number
  /** Calls that wait for their turn. */
  readonly waiting: number
  /** Since ipamd started. Empty when all is well. */
  readonly fallbacks: readonly FallbackCount[]
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
  }
}

import { IpamUnavailable } from '../lib/ipam/errors.ts'
import { ParseError } from '../lib/net/parse-error.ts'
import type { Ask } from './ask.ts'

/** Parses an answer. @throws {IpamUnavailable} when it is not what this version of tullectl can read. */
export function understood<T>(ask: Ask, document: object, parse: (document: unknown) => T): T {
  try {
    return parse(document)
  } catch (cause) {
    if (!(cause instanceof ParseError)) throw cause
    throw new IpamUnavailable(ask.socketPath, `an answer that cannot be read: ${cause.message}`, { cause })
  }
}

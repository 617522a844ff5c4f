import { IpamUnavailable, parseProblem } from '../lib/ipam/errors.ts'
import { follow, type StreamedDocument } from './follow.ts'
import { exchange, type HttpRequest } from '../lib/os/http-over-unix.ts'
import { ParseError } from '../lib/net/parse-error.ts'
import { Deadline } from '../lib/time/deadline.ts'

/** Asks one ipamd. */
export interface Ask {
  readonly socketPath: string
  /** @returns the document as it came. @throws {IpamProblem} for a refusal, {IpamUnavailable} without an answer. */
  readonly get: (path: string) => Promise<object>
  /** As get(), with a JSON body. */
  readonly post: (path: string, body: object) => Promise<object>
  /** A stream of documents. It ends by throwing as get() does. */
  readonly follow: (path: string) => AsyncIterable<StreamedDocument>
}

/** Asks the ipamd at `socketPath`. Each question has `timeoutMs`. */
export function askOver(socketPath: string, timeoutMs: number): Ask {
  async function ask(request: HttpRequest): Promise<object> {
    const { status, body } = await exchange(socketPath, request, Deadline.in(timeoutMs))
    try {
      const document: unknown = JSON.parse(body)
      if (status !== 200) throw parseProblem(document)
      if (typeof document !== 'object' || document === null) throw new ParseError('want a JSON object')
      return document
    } catch (cause) {
      if (!(cause instanceof SyntaxError || cause instanceof ParseError)) throw cause
      throw new IpamUnavailable(socketPath, `an answer (${status}) that cannot be read: ${cause.message}`, { cause })
    }
  }
  return {
    socketPath,
    get: path => ask({ method: 'GET', path }),
    post: (path, body) => ask({ method: 'POST', path, body }),
    follow: path => follow({ socketPath, path, timeoutMs }),
  }
}

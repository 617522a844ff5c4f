import { closeSync } from 'node:fs'
import type { NetlinkMessage } from 'netlink/dist/structs.js'
import type { ExchangeError, NativeAddon } from '../../native/addon.ts'
import type { Deadline } from '../time/deadline.ts'
import { errnoName } from './errno.ts'
import { NetlinkError } from './netlink-error.ts'
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  carriesObject,
  decodeMessages,
  encodeMessages,
  verdictOf,
} from './netlink-message.ts'
import type { NetlinkPayload, OutgoingMessage } from './netlink-message.ts'
import { OneAtATime } from './one-at-a-time.ts'
import { Sequence } from './sequence.ts'

/** Checklist R24: an interrupted dump is never trusted, and not retried for ever. */
const DUMP_TRIES = 5

export interface NetlinkRequest {
  readonly type: number
  /** NLM_F_CREATE and the like. REQUEST, ACK and DUMP are added here. */
  readonly flags: number
  readonly payload: NetlinkPayload
  /** In a transaction: ask for no ACK. The BATCH_BEGIN and BATCH_END of nf_tables want none. */
  readonly unacknowledged?: boolean
}

export interface NetlinkReply {
  readonly type: number
  readonly flags: number
  readonly payload: Buffer
}

export interface NetlinkSocketOptions {
  /** The namespace to open the socket in; -1 is our own. May be closed once the constructor has returned. */
  readonly netnsFd: number
  /** NETLINK_ROUTE is 0, NETLINK_NETFILTER 12. */
  readonly protocol: number
  /**
   * 'async' keeps the event loop free (a daemon); 'sync' blocks it and saves the way to the thread pool (a short run).
   */
  readonly exchange: 'sync' | 'async'
}

/**
 * Requests to the kernel over one netlink socket, one at a time; more wait for their turn.
 *
 * Every method throws {@link NetlinkError} when the kernel refuses or its answer is not seen, with `outcomeUnknown` to
 * tell these apart, and DeadlineExceeded when no time was left to begin: then nothing was sent.
 */
export class NetlinkSocket implements Disposable {
  readonly #addon: NativeAddon
  readonly #exchange: 'sync' | 'async'
  readonly #fd: number
  readonly #turns = new OneAtATime()
  readonly #sequence = new Sequence()
  #sending = false
  #closed = false

  /** @throws {NativeError} when the socket cannot be opened. */
  constructor(addon: NativeAddon, options: NetlinkSocketOptions) {
    this.#addon = addon
    this.#exchange = options.exchange
    this.#fd = addon.openNetlink(options.netnsFd, options.protocol)
  }

  /** Performs one request. Returns when the kernel has acknowledged it. */
  async acknowledge(request: NetlinkRequest, by: Deadline): Promise<void> {
    await this.transaction([{ ...request, unacknowledged: false }], by)
  }

  /**
   * Asks for one object. An absent one is the kernel's ENOENT, ENODEV or ESRCH; undefined is an ACK without an object.
   */
  async get(request: NetlinkRequest, by: Deadline): Promise<NetlinkReply | undefined> {
    const replies = await this.transaction([{ ...request, unacknowledged: false }], by)
    if (replies.length > 1) {
      throw new NetlinkError({
        doing: `${describe([request])}: ${replies.length} objects came, want one`,
        code: 'EPROTO',
      })
    }
    return replies[0]
  }

  /**
   * Asks for all objects of a kind.
   *
   * A dump that the kernel marks as interrupted (the list changed meanwhile) is asked for again, 5 times in all.
   *
   * @throws {NetlinkError} 'EINTR' when every try was interrupted.
   */
  async dump(request: NetlinkRequest, by: Deadline): Promise<readonly NetlinkReply[]> {
    const doing = `${describe([request])} (dump)`
    for (let tries = 0; tries < DUMP_TRIES; tries++) {
      const answer = await this.#ask([request], { flags: NLM_F_DUMP, by, doing })
      if (!answer.some(message => (message.flags & NLM_F_DUMP_INTR) !== 0)) return repliesIn(answer)
    }
    throw new NetlinkError({ doing: `${doing}: interrupted by changes ${DUMP_TRIES} times in a row`, code: 'EINTR' })
  }

  /**
   * Sends several requests in one go and returns the objects in their answers.
   *
   * The first request that was refused is the one thrown. rtnetlink goes on with the others after a refusal: only
   * nf_tables undoes the whole batch.
   */
  async transaction(requests: readonly NetlinkRequest[], by: Deadline): Promise<readonly NetlinkReply[]> {
    return repliesIn(await this.#ask(requests, { flags: NLM_F_ACK, by, doing: describe(requests) }))
  }

  /**
   * Sends several independent requests in one go, and says of each how it ended: undefined, or why it was refused. A refusal
   * keeps none of the others from being done.
   *
   * For rtnetlink only, and for no more requests at a time than their answers have room for in the socket's buffer.
   *
   * @throws {NetlinkError} when the exchange as a whole failed: which of the requests were done is not known then.
   */
  async outcomes(requests: readonly NetlinkRequest[], by: Deadline): Promise<readonly (NetlinkError | undefined)[]> {
    const doing = `${requests.length} netlink messages`
    return await this.#exchangeAll(requests, { flags: NLM_F_ACK, by, doing }, (sent, answer) => {
      const verdicts = new Map(answer.map(message => [message.seq, verdictOf(message)]))
      return sent.map((message, requestIndex) => {
        const verdict = verdicts.get(message.seq)
        const which = `netlink message type ${message.type}`
        if (verdict === undefined) {
          return new NetlinkError({
            doing: `${which}: no ACK came`,
            code: 'EPROTO',
            requestIndex,
            outcomeUnknown: true,
          })
        }
        if (verdict.errno >= 0) return undefined
        return new NetlinkError({ doing: which, code: errnoName(verdict.errno), extAck: verdict.extAck, requestIndex })
      })
    })
  }

  /** Closes the socket; a request under way keeps it open until it ends. Requests after this are refused with EBADF. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (!this.#sending) closeSync(this.#fd)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  #ask(requests: readonly NetlinkRequest[], options: AskOptions): Promise<readonly NetlinkMessage[]> {
    return this.#exchangeAll(requests, options, (sent, answer) => {
      throwFirstRefusal(sent, answer, options.doing)
      return answer
    })
  }

  #exchangeAll<T>(
    requests: readonly NetlinkRequest[],
    options: AskOptions,
    read: (sent: readonly SentMessage[], answer: readonly NetlinkMessage[]) => T,
  ): Promise<T> {
    if (!requests.some(isAwaited)) throw new TypeError(`${options.doing}: want at least one request with an ACK`)
    return this.#turns.run(async () => {
      const sent = this.#number(requests, options.flags)
      return read(sent, decodeMessages(await this.#send(sent, options)))
    }, options)
  }

  #number(requests: readonly NetlinkRequest[], flags: number): readonly SentMessage[] {
    const seqs = this.#sequence.take(requests.length)
    return requests.map((request, index) => ({
      type: request.type,
      flags: request.flags | NLM_F_REQUEST | (isAwaited(request) ? flags : 0),
      seq: seqs[index] ?? 0,
      payload: request.payload,
      awaited: isAwaited(request),
    }))
  }

  async #send(messages: readonly SentMessage[], { by, doing }: AskOptions): Promise<Buffer> {
    if (this.#closed) throw new NetlinkError({ doing: `${doing}: the socket is closed`, code: 'EBADF' })
    const bytes = encodeMessages(messages)
    const lastSeq = messages.findLast(message => message.awaited)?.seq ?? 0
    this.#sending = true
    try {
      if (this.#exchange === 'sync') return this.#addon.transactSync(this.#fd, bytes, lastSeq, by.remainingMs())
      return await this.#addon.transact(this.#fd, bytes, lastSeq, by.remainingMs())
    } catch (cause) {
      throw asNetlinkError(cause, doing)
    } finally {
      this.#sending = false
      if (this.#closed) closeSync(this.#fd)
    }
  }
}

interface AskOptions {
  /** Set on every request whose end is waited for: NLM_F_ACK or NLM_F_DUMP. */
  readonly flags: number
  readonly by: Deadline
  readonly doing: string
}

interface SentMessage extends OutgoingMessage {
  readonly awaited: boolean
}

function isAwaited(request: NetlinkRequest): boolean {
  return request.unacknowledged !== true
}

function repliesIn(answer: readonly NetlinkMessage[]): readonly NetlinkReply[] {
  return answer.filter(carriesObject).map(({ type, flags, data }) => ({ type, flags, payload: data }))
}

/** Throws what the kernel said to the first refused request, or EPROTO when one that asked for an ACK got none. */
function throwFirstRefusal(sent: readonly SentMessage[], answer: readonly NetlinkMessage[], doing: string): void {
  for (const [requestIndex, message] of sent.entries()) {
    const verdicts = answer
      .filter(({ seq }) => seq === message.seq)
      .map(verdictOf)
      .filter(isPresent)
    const refusal = verdicts.find(({ errno }) => errno < 0)
    const which =
      sent.length === 1 ? doing : `netlink message type ${message.type} (${requestIndex + 1} of ${sent.length})`
    if (refusal !== undefined) {
      const { errno, extAck } = refusal
      throw new NetlinkError({ doing: which, code: errnoName(errno), extAck, requestIndex })
    }
    if (message.awaited && verdicts.length === 0) {
      throw new NetlinkError({ doing: `${which}: no ACK came`, code: 'EPROTO', requestIndex, outcomeUnknown: true })
    }
  }
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined
}

/** A failure of the exchange itself. Anything but the addon's own error is a bug and passes as it is. */
function asNetlinkError(cause: unknown, doing: string): unknown {
  if (!isExchangeError(cause)) return cause
  return new NetlinkError({ doing, code: cause.code, outcomeUnknown: cause.sent, cause })
}

function isExchangeError(error: unknown): error is ExchangeError {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    'sent' in error &&
    typeof error.sent === 'boolean'
  )
}

function describe(requests: readonly NetlinkRequest[]): string {
  const types = requests.map(request => request.type).join(', ')
  return requests.length === 1 ? `netlink message type ${types}` : `netlink messages of types ${types}`
}

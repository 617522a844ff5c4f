import { closeSync } from 'node:fs'
import type { NetlinkMessage } from 'netlink/dist/structs.js'
import type { NativeAddon } from '../../native/addon.ts'
import type { Deadline } from '../time/deadline.ts'
import {
  asNetlinkError,
  describe,
  isAwaited,
  isRefusedAs,
  lastSeqOf,
  mostlySilent,
  onlyReply,
  outcomesOf,
  repliesIn,
  throwFirstRefusal,
  type SentMessage,
} from './netlink-answer.ts'
import { NetlinkError } from './netlink-error.ts'
import {
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  decodeMessages,
  encodeMessages,
} from './netlink-message.ts'
import type { NetlinkPayload } from './netlink-message.ts'
import { OneAtATime } from './one-at-a-time.ts'
import { Sequence } from './sequence.ts'

/** The answers have to fit the socket's buffer. */
const MAX_GETS = 64
/** Checklist R24: an interrupted dump is never trusted, and not retried for ever. */
const DUMP_TRIES = 5

/** Protocols of a netlink socket (linux/netlink.h): links, addresses and routes; nftables. */
export const NETLINK_ROUTE = 0
export const NETLINK_NETFILTER = 12
/** Means "the namespace of this process" to the addon, which then needs no thread to enter it. */
export const OWN_NETNS = -1

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
  /** The namespace to open the socket in, or OWN_NETNS. May be closed once the constructor has returned. */
  readonly netnsFd: number
  /** NETLINK_ROUTE or NETLINK_NETFILTER. */
  readonly protocol: number
  /**
   * 'async' keeps the event loop free (a daemon); 'sync' blocks it and saves the way to the thread pool (a short run).
   */
  readonly exchange: 'sync' | 'async'
  /**
   * Opens the socket together with the first exchange, on the thread pool: entering a namespace takes a thread. For 'async' and
   * NETLINK_ROUTE. The namespace has to stay open until then, or until the socket is closed.
   */
  readonly opensLater?: boolean
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
  readonly #netnsFd: number
  readonly #protocol: number
  #fd: number | undefined
  readonly #turns = new OneAtATime()
  readonly #sequence = new Sequence()
  readonly #gets = new Map<Deadline, WaitingGet[]>()
  #sending = false
  #closed = false

  /** @throws {NativeError} when the socket cannot be opened. */
  constructor(addon: NativeAddon, options: NetlinkSocketOptions) {
    this.#addon = addon
    this.#exchange = options.exchange
    this.#netnsFd = options.netnsFd
    this.#protocol = options.protocol
    if (options.opensLater !== true) this.#open()
  }

  #open(): number {
    this.#fd ??= this.#addon.openNetlink(this.#netnsFd, this.#protocol)
    return this.#fd
  }

  /** Performs one request. Returns when the kernel has acknowledged it. */
  async acknowledge(request: NetlinkRequest, by: Deadline): Promise<void> {
    await this.transaction([{ ...request, unacknowledged: false }], by)
  }

  /**
   * Asks for one object. An absent one is the kernel's ENOENT, ENODEV or ESRCH; undefined is an ACK without an object, or one of the
   * refusals in `absent`.
   *
   * What is asked for at the same time, with the same deadline, goes in one message.
   */
  get(request: NetlinkRequest, by: Deadline, absent: readonly string[] = []): Promise<NetlinkReply | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<NetlinkReply | undefined>()
    const waiting = { request: { ...request, unacknowledged: false }, absent, resolve, reject }
    const together = this.#gets.get(by)
    if (together !== undefined && together.length < MAX_GETS) together.push(waiting)
    else {
      const first = [waiting]
      this.#gets.set(by, first)
      queueMicrotask(() => {
        if (this.#gets.get(by) === first) this.#gets.delete(by)
        void this.#getAll(first, by)
      })
    }
    return promise
  }

  /** Settles all of `waiting`. */
  async #getAll(waiting: readonly WaitingGet[], by: Deadline): Promise<void> {
    const requests = waiting.map(({ request }) => request)
    const doing = describe(requests)
    try {
      await this.#exchangeAll(requests, { flags: NLM_F_ACK, by, doing }, (sent, answer) => {
        for (const [index, { absent, resolve, reject }] of waiting.entries()) {
          const own = answer.filter(({ seq }) => seq === sent[index]?.seq)
          try {
            // An Error for each thing that is not there, which is most of what is looked for, would cost more than the look.
            if (own.some(message => isRefusedAs(message, absent))) {
              resolve(undefined)
              continue
            }
            throwFirstRefusal(sent.slice(index, index + 1), own, describe(requests.slice(index, index + 1)))
            resolve(onlyReply(own, requests[index]))
          } catch (refusal) {
            reject(refusal)
          }
        }
      })
    } catch (failure) {
      for (const { reject } of waiting) reject(failure)
    }
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
   * For rtnetlink only, and for no more requests at a time than their answers have room for in the socket's buffer. The kernel does
   * them in their order and tells of each that it refuses, so that an ACK of the last says that it has seen them all. (The first
   * has one as well: a refusal of a silent first message is that of a whole batch of nf_tables.)
   *
   * @throws {NetlinkError} when the exchange as a whole failed: which of the requests were done is not known then.
   */
  async outcomes(requests: readonly NetlinkRequest[], by: Deadline): Promise<readonly (NetlinkError | undefined)[]> {
    const doing = `${requests.length} netlink messages`
    return await this.#exchangeAll(mostlySilent(requests), { flags: NLM_F_ACK, by, doing }, outcomesOf)
  }

  /**
   * Takes a turn of the socket, for exchanges that somebody else makes on it with what LentSocket prepares.
   *
   * @throws {NetlinkError | DeadlineExceeded} as the other methods, before `use` has begun. @throws what `use` throws.
   */
  lend<T>(use: (lent: LentSocket) => Promise<T>, options: Turn): Promise<T> {
    return this.#turns.run(
      () =>
        this.#whileSending(options.doing, async () => {
          return await use({
            fd: this.#open(),
            prepare: requests => this.#prepare(requests),
            prepareTransaction: requests => this.#prepareTransaction(requests),
          })
        }),
      options,
    )
  }

  #prepare(requests: readonly NetlinkRequest[]): Sent {
    const sent = this.#number(mostlySilent(requests), NLM_F_ACK)
    return {
      request: encodeMessages(sent),
      lastSeq: lastSeqOf(sent),
      outcomes: answer => outcomesOf(sent, decodeMessages(answer)),
    }
  }

  #prepareTransaction(requests: readonly NetlinkRequest[]): SentTransaction {
    const sent = this.#number(requests, NLM_F_ACK)
    return {
      request: encodeMessages(sent),
      lastSeq: lastSeqOf(sent),
      throwRefusal: answer => throwFirstRefusal(sent, decodeMessages(answer), describe(requests)),
    }
  }

  /** Closes the socket; a request under way keeps it open until it ends. Requests after this are refused with EBADF. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (!this.#sending) this.#closeNow()
  }

  #closeNow(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
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
    const bytes = encodeMessages(messages)
    const lastSeq = lastSeqOf(messages)
    return await this.#whileSending(doing, async () => {
      try {
        const fd = this.#fd
        if (fd === undefined) return await this.#openAndTransact(bytes, lastSeq, by)
        if (this.#exchange === 'sync') return this.#addon.transactSync(fd, bytes, lastSeq, by.remainingMs())
        return await this.#addon.transact(fd, bytes, lastSeq, by.remainingMs())
      } catch (cause) {
        throw asNetlinkError(cause, doing)
      }
    })
  }

  /** Opens the socket and makes its first exchange. */
  async #openAndTransact(request: Buffer, lastSeq: number, by: Deadline): Promise<Buffer> {
    const steps = [{ openIn: this.#netnsFd }, { socketFd: -1, request, lastSeq }]
    const { answers, failure } = await this.#addon.perform(steps, by.remainingMs())
    const [fd, answer] = answers
    if (typeof fd === 'number') this.#fd = fd
    if (failure !== undefined) throw failure
    if (!Buffer.isBuffer(answer)) throw new TypeError('an exchange has an answer or a failure')
    return answer
  }

  async #whileSending<T>(doing: string, use: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new NetlinkError({ doing: `${doing}: the socket is closed`, code: 'EBADF' })
    this.#sending = true
    try {
      return await use()
    } finally {
      this.#sending = false
      if (this.#closed) this.#closeNow()
    }
  }
}

/** Whose turn it is, and for how long it is waited for. */
export interface Turn {
  readonly by: Deadline
  readonly doing: string
}

/** A socket in the turn of one caller. */
export interface LentSocket {
  readonly fd: number
  /** Makes one exchange of these requests, as outcomes() sends them: at most one is under way at a time. */
  readonly prepare: (requests: readonly NetlinkRequest[]) => Sent
  /** Makes one exchange of these requests, as transaction() sends them. */
  readonly prepareTransaction: (requests: readonly NetlinkRequest[]) => SentTransaction
}

/** What a transaction sends, and how its answer is read. */
export interface SentTransaction {
  readonly request: Buffer
  readonly lastSeq: number
  /** @throws {NetlinkError} when it was refused. */
  readonly throwRefusal: (answer: Buffer) => void
}

/** What an exchange sends, and how its answer is read. */
export interface Sent {
  readonly request: Buffer
  readonly lastSeq: number
  readonly outcomes: (answer: Buffer) => readonly (NetlinkError | undefined)[]
}

interface AskOptions {
  /** Set on every request whose end is waited for: NLM_F_ACK or NLM_F_DUMP. */
  readonly flags: number
  readonly by: Deadline
  readonly doing: string
}

interface WaitingGet {
  readonly request: NetlinkRequest
  readonly absent: readonly string[]
  readonly resolve: (reply: NetlinkReply | undefined) => void
  readonly reject: (failure: unknown) => void
}

import { attachmentKeyText, type AttachmentKey } from '../lib/ipam/attachment.ts'
import { IpamProblem } from '../lib/ipam/errors.ts'
import type { Lease } from '../lib/ipam/lease.ts'
import type {
  AllocateReply,
  AllocateRequest,
  CollectReply,
  CollectRequest,
  LeaseFilter,
  PoolReport,
  ReleaseRequest,
} from '../lib/ipam/protocol.ts'
import type { PodCidrsReply, PodCidrsRequest } from '../lib/ipam/pod-cidrs.ts'
import type { Address } from '../lib/net/address.ts'
import { formatPrefix, type Prefix } from '../lib/net/prefix.ts'
import { Deadline } from '../lib/time/deadline.ts'
import { allocate, refusalOf } from './allocator/allocate.ts'
import type { LeaseEvent, ReleaseReason, StoredChange } from './allocator/events.ts'
import { handOver, reportPodCidrs } from './allocator/hand-over.ts'
import { giveBack } from './allocator/give-back.ts'
import type { ForeignRange } from './allocator/foreign-range.ts'
import { findPoolOverlap, outsideBlocks } from './allocator/overlaps.ts'
import type { Pool } from './allocator/pool.ts'
import { collect, findLeases, release, type Release } from './allocator/release.ts'
import { reportPools } from './allocator/report.ts'
import type { Reservation } from './allocator/reservation.ts'
import { listReservations, reserve, unreserve, type ReserveRequest } from './allocator/reserve.ts'
import { evolve, followClock, restoreState, seeForeign, type State } from './allocator/state.ts'
import { addressProblem, inNoPool, notHandedOver, overlapProblem, problemOf, storeFailed } from './problems.ts'
import type { BootFacts } from './store/boot-facts.ts'
import { isSameBoot, viaOf, type LeaseOrigin } from './store/lease-origin.ts'
import { StoreError } from './store/store-error.ts'
import type { Store } from './store/store.ts'

/** What the service needs of the world. */
export interface LeaseServiceEdges {
  readonly store: Store
  /** The wall clock, in unix milliseconds. */
  readonly nowUnixMs: () => number
  /** A clock that nobody sets, in milliseconds: tells when the wall clock was set. */
  readonly uptimeMs: () => number
  /**
   * Called for a block before the first address of it is answered, and again after a failure: it must be idempotent. It
   * keeps the deadline.
   */
  readonly onBlockTaken: (block: Prefix, by: Deadline) => Promise<void>
  /**
   * Called after a block was given back, and again after a failure: it must be idempotent. It keeps the deadline. The block is
   * not taken again before it has ended.
   */
  readonly onBlockReturned: (block: Prefix, by: Deadline) => Promise<void>
  /** Ranges that nothing is leased from, whatever the node looks like. */
  readonly serviceRanges?: readonly ForeignRange[]
  /** What the node itself uses. Called at start, and before a block is taken. Absent in a daemon that does not look. */
  readonly readHostRanges?: (by: Deadline) => Promise<readonly ForeignRange[]>
  /** Absent in a daemon that never looks for stale leases. */
  readonly origins?: LeaseOrigins
}

/** What is durable about where leases come from. */
export interface LeaseOrigins {
  readonly boot: BootFacts
  /** Undefined when the attachment has no durable lease. @throws {StoreError} */
  readonly read: (attachment: AttachmentKey) => LeaseOrigin | undefined
}

/** What one request asks of the state. */
type Decide<Reply> = (
  state: State,
  nowUnixMs: number,
) => { readonly reply: Reply; readonly events: readonly LeaseEvent[] }

interface Command {
  /** Decides, and returns what is to be stored and how to answer once it is. @throws {IpamProblem} to refuse. */
  readonly decide: (
    state: State,
    nowUnixMs: number,
  ) => { readonly events: readonly LeaseEvent[]; readonly answer: () => void }
  readonly reject: (reason: Error) => void
}

/** How much of the history is kept. */
export interface HistoryBounds {
  readonly keepMs: number
  readonly maxRows: number
}

/** A block that was given back. */
interface LeftBlock {
  readonly prefix: Prefix
  /** The call of onBlockReturned that runs, or ran last. */
  attempt: Promise<void> | undefined
}

// Well below the time after which the server closes a connection on which nothing moves: the caller must get the reason.
const BLOCK_TIMEOUT_MS = 2000
// Differences below are the rounding and the drift of clocks.
const MIN_CLOCK_STEP_MS = 1000

/**
 * The one writer of the store. Requests that arrive in one turn of the event loop are decided in order against one state
 * and share one commit. Each is answered when the commit is durable, never before (invariant 2).
 */
export class LeaseService {
  readonly #pools: readonly Pool[]
  readonly #edges: LeaseServiceEdges
  /** The look at the node that is under way. */
  #looking: Promise<void> | undefined
  #hostRanges: readonly ForeignRange[] = []
  /** Undefined after a failed commit, until it is restored from the store. */
  #state: State | undefined
  /** Wall clock less uptime, when the moments in the state were last right. */
  #clockOffsetMs = 0
  #storeHasFailed = false
  #queue: Command[] = []
  readonly #blocks = new Map<string, Promise<void>>()
  /** Blocks that were given back, until onBlockReturned has succeeded. */
  readonly #left = new Map<string, LeftBlock>()

  /** @throws {StoreError} when the store can't be read. */
  constructor(pools: readonly Pool[], edges: LeaseServiceEdges) {
    this.#pools = pools
    this.#edges = edges
    this.#restore()
  }

  /** Leases one address of each family of the pool, or none. @throws {IpamProblem} */
  async allocate(request: AllocateRequest): Promise<AllocateReply> {
    const reply =
      (await this.#allocate(request, { hasLooked: this.#isBlind })) ?? (await this.#allocateAfterLook(request))
    await Promise.all(reply.lease.addresses.map(({ block }) => this.#whenBlockIsReady(block)))
    return reply
  }

  async #allocateAfterLook(request: AllocateRequest): Promise<AllocateReply> {
    await this.#look()
    const reply = await this.#allocate(request, { hasLooked: true })
    if (reply === undefined) throw new Error('asked to look twice')
    return reply
  }

  /** Undefined when the node has to be looked at first: nothing was changed. */
  #allocate(
    request: AllocateRequest,
    { hasLooked }: { readonly hasLooked: boolean },
  ): Promise<AllocateReply | undefined> {
    return this.#execute<AllocateReply | undefined>((state, nowUnixMs) => {
      // Here and not earlier: the request may have waited for another one's commit.
      refuseLate(request, nowUnixMs)
      const asked = { ...request, via: this.#via(request) }
      const allocation = allocate(state, asked, nowUnixMs)
      switch (allocation.kind) {
        case 'leased':
          if (!hasLooked && takesBlock(allocation.events)) return { reply: undefined, events: [] }
          return { reply: { lease: allocation.lease, isNew: true }, events: allocation.events }
        case 'overlaps':
          // It may be gone by now.
          if (!hasLooked) return { reply: undefined, events: [] }
          throw problemOf(allocation, nowUnixMs)
        case 'already-leased':
          // Also when nothing is to be stored: releaseStale() must see that it was asked for.
          evolve(state, { type: 'renewed', lease: allocation.lease, via: asked.via })
          return { reply: { lease: allocation.lease, isNew: false }, events: this.#renewal(allocation.lease, asked) }
        default:
          throw problemOf(allocation, nowUnixMs)
      }
    })
  }

  /** Ends the lease of the attachment, when it is the one that is meant. @throws {IpamProblem} */
  release(request: ReleaseRequest, reason: ReleaseReason): Promise<Release> {
    return this.#execute((state, nowUnixMs) => {
      refuseLate(request, nowUnixMs)
      const decision = release(state, request, { nowUnixMs, reason })
      return { reply: decision, events: decision.kind === 'released' ? decision.events : [] }
    })
  }

  /** Ends the leases of a network whose attachments are not valid. @throws {IpamProblem} */
  collect(request: CollectRequest): Promise<CollectReply> {
    return this.#execute((state, nowUnixMs) => {
      refuseLate(request, nowUnixMs)
      const events = collect(state, request, nowUnixMs)
      return { reply: { released: events.map(event => event.lease.attachment) }, events }
    })
  }

  /** The very lease that the attachment holds, for releaseStale(). @throws {IpamProblem} */
  holds(attachment: AttachmentKey): Promise<Lease | undefined> {
    return this.#execute(state => ({ reply: state.leases.get(attachmentKeyText(attachment)), events: [] }))
  }

  /**
   * Ends this very lease, for the reason that `detail` gives. Resolves to false when it has ended, or was asked for again, since
   * holds() gave it (checklist R6). @throws {IpamProblem}
   */
  releaseStale(lease: Lease, detail: string): Promise<boolean> {
    return this.#execute((state, nowUnixMs) => {
      // Every change of a lease makes another object of it.
      if (state.leases.get(attachmentKeyText(lease.attachment)) !== lease) return { reply: false, events: [] }
      return { reply: true, events: [{ type: 'released', lease, atUnixMs: nowUnixMs, reason: 'reconcile', detail }] }
    })
  }

  /** The leases that match. @throws {IpamProblem} */
  find(filter: LeaseFilter): Promise<readonly Lease[]> {
    return this.#execute(state => ({ reply: findLeases(state, filter), events: [] }))
  }

  /** @throws {IpamProblem} */
  pools(): Promise<readonly PoolReport[]> {
    return this.#execute((state, nowUnixMs) => ({ reply: reportPools(state, nowUnixMs), events: [] }))
  }

  /** Sets an address aside for an owner. @throws {IpamProblem} when no pool leases it, or another owner has it. */
  reserve(request: ReserveRequest): Promise<Reservation> {
    return this.#execute((state, nowUnixMs) => {
      const decision = reserve(state, request, nowUnixMs)
      switch (decision.kind) {
        case 'reserved':
          return { reply: decision.reservation, events: decision.events }
        case 'in-no-pool':
          throw inNoPool(decision.address, decision.known)
        case 'address-refused':
          throw addressProblem(decision, nowUnixMs)
      }
    })
  }

  /** Resolves to false when the address is not reserved. @throws {IpamProblem} */
  unreserve(address: Address): Promise<boolean> {
    return this.#execute((state, nowUnixMs) => {
      const events = unreserve(state, address, nowUnixMs)
      return { reply: events.length > 0, events }
    })
  }

  /** @throws {IpamProblem} */
  reservations(): Promise<readonly Reservation[]> {
    return this.#execute(state => ({ reply: listReservations(state), events: [] }))
  }

  /**
   * Gives back the blocks that are not needed, some of them, and resolves to them. To be called now and then.
   *
   * @throws {IpamProblem} when the store fails. @throws the first failure of onBlockReturned; the next call tries it again.
   */
  async giveBackBlocks(): Promise<readonly Prefix[]> {
    const returned = await this.#execute((state, nowUnixMs) => {
      const events = giveBack(state, nowUnixMs)
      return { reply: events.map(event => event.prefix), events }
    })
    this.#forget(returned)
    await Promise.all([...this.#left.values()].map(left => this.#leave(left)))
    return returned
  }

  /**
   * Makes these ranges the only ones that new leases of the pool come from. Resolves when they are durable and ready.
   *
   * @throws {IpamProblem} when one overlaps what is somebody else's, or no pool takes them: nothing is changed then.
   */
  async handOverPodCidrs(request: PodCidrsRequest): Promise<PodCidrsReply> {
    await this.#look()
    // What came before is decided by what was true then.
    this.flush()
    try {
      this.#handOver(request)
    } catch (cause) {
      throw asProblem(cause)
    }
    await Promise.all(request.podCidrs.map(block => this.#whenBlockIsReady(block)))
    return this.podCidrs(request.pool)
  }

  /** @throws {IpamProblem} when no pool takes pod CIDRs. */
  podCidrs(pool: string | undefined): Promise<PodCidrsReply> {
    return this.#execute(state => {
      const report = reportPodCidrs(state, pool)
      if ('kind' in report) throw notHandedOver(report)
      return { reply: report, events: [] }
    })
  }

  /** Forgets what happened too long ago, some of it. To be called now and then. @throws {StoreError} */
  trimHistory({ keepMs, maxRows }: HistoryBounds): void {
    this.#edges.store.trimEvents({ beforeUnixMs: this.#edges.nowUnixMs() - keepMs, maxRows })
  }

  /** Resolves when a new attachment would get a lease now. @throws {IpamProblem} that says why it would not. */
  async checkReady(pool: string | undefined): Promise<void> {
    if (!(await this.#checkLease(pool, { hasLooked: this.#isBlind }))) {
      await this.#look()
      await this.#checkLease(pool, { hasLooked: true })
    }
    if (this.#storeHasFailed) this.#probe()
  }

  /** False when the node has to be looked at first. */
  #checkLease(pool: string | undefined, { hasLooked }: { readonly hasLooked: boolean }): Promise<boolean> {
    return this.#execute((state, nowUnixMs) => {
      const refusal = refusalOf(state, pool, nowUnixMs)
      // It may be gone by now.
      if (refusal?.kind === 'overlaps' && !hasLooked) return { reply: false, events: [] }
      if (refusal !== undefined) throw problemOf(refusal, nowUnixMs)
      return { reply: true, events: [] }
    })
  }

  /**
   * Holds the pools against each other, the service ranges and what the node uses. To be called before anything is answered.
   *
   * @throws {IpamProblem} overlaps, with both ranges. @throws {IpamProblem} busy, when the node can't be looked at.
   */
  async refuseOverlaps(): Promise<void> {
    await this.#look()
    const { serviceRanges = [] } = this.#edges
    await this.#execute(state => {
      const hostRanges = outsideBlocks(this.#hostRanges, state.blocks)
      const overlap = findPoolOverlap(state, { serviceRanges, hostRanges })
      if (overlap !== undefined) throw overlapProblem(overlap)
      return { reply: undefined, events: [] }
    })
  }

  /** Calls onBlockTaken for every block that the node has. @throws the first failure. */
  async announceBlocks(): Promise<void> {
    const blocks = this.#state?.blocks ?? []
    for (const { prefix } of blocks) await this.#whenBlockIsReady(prefix)
  }

  /** Commits what is waiting. */
  flush(): void {
    const batch = this.#queue
    this.#queue = []
    if (batch.length === 0) return
    try {
      for (const answer of this.#decideAndCommit(batch)) answer()
    } catch (cause) {
      // The state in memory has what the store has not.
      this.#state = undefined
      const problem = asProblem(cause)
      for (const { reject } of batch) reject(problem)
    }
  }

  #via(request: AllocateRequest): AllocateRequest['via'] {
    const { origins } = this.#edges
    return origins === undefined ? request.via : viaOf(request, origins.boot)
  }

  /** A lease that is asked for again is of this boot and of who asks: else it would look stale while a pod lives on it. */
  #renewal(lease: Lease, { via }: Pick<AllocateRequest, 'via'>): readonly LeaseEvent[] {
    const { origins } = this.#edges
    const origin = origins?.read(lease.attachment)
    if (origins === undefined || origin === undefined) return []
    if (isSameBoot(origin.boot, origins.boot) && origin.via === via) return []
    return [{ type: 'renewed', lease, via }]
  }

  #execute<Reply>(decide: Decide<Reply>): Promise<Reply> {
    return new Promise((resolve, reject) => {
      if (this.#queue.length === 0) setImmediate(() => this.flush())
      this.#queue.push({
        decide: (state, nowUnixMs) => {
          const { reply, events } = decide(state, nowUnixMs)
          return { events, answer: () => resolve(reply) }
        },
        reject,
      })
    })
  }

  /** @throws when nothing of the batch was stored. */
  #decideAndCommit(batch: readonly Command[]): readonly (() => void)[] {
    const nowUnixMs = this.#edges.nowUnixMs()
    const state = this.#state ?? this.#restore()
    this.#followClock(state, nowUnixMs)
    const answers: (() => void)[] = []
    const events: LeaseEvent[] = []
    for (const { decide, reject } of batch) {
      try {
        const decision = decide(state, nowUnixMs)
        // Applied at once, so that the next request of the batch is decided against it.
        for (const event of decision.events) evolve(state, event)
        events.push(...decision.events)
        answers.push(decision.answer)
      } catch (refusal) {
        if (!(refusal instanceof IpamProblem)) throw refusal
        reject(refusal)
      }
    }
    if (events.length > 0) this.#commit(events)
    return answers
  }

  /** True when there is no way to look at the node. */
  get #isBlind(): boolean {
    return this.#edges.readHostRanges === undefined
  }

  /** Reads what the node uses. One look serves all who wait for it. @throws {IpamProblem} busy */
  #look(): Promise<void> {
    this.#looking ??= this.#lookNow().finally(() => (this.#looking = undefined))
    return this.#looking
  }

  async #lookNow(): Promise<void> {
    const { readHostRanges } = this.#edges
    if (readHostRanges === undefined) return
    try {
      this.#hostRanges = await readHostRanges(Deadline.in(BLOCK_TIMEOUT_MS))
    } catch (cause) {
      throw new IpamProblem('busy', `the node's ranges cannot be read: ${(cause as Error).message}`, { cause })
    }
    if (this.#state !== undefined) this.#seeForeign(this.#state)
  }

  #seeForeign(state: State): void {
    const { serviceRanges = [] } = this.#edges
    seeForeign(state, [...serviceRanges, ...outsideBlocks(this.#hostRanges, state.blocks)])
  }

  #handOver({ podCidrs, pool }: PodCidrsRequest): void {
    const nowUnixMs = this.#edges.nowUnixMs()
    const state = this.#state ?? this.#restore()
    this.#followClock(state, nowUnixMs)
    const decision = handOver(state, { podCidrs, pool }, nowUnixMs)
    if (decision.kind === 'overlaps') throw overlapProblem(decision)
    if (decision.kind === 'not-handed-over') throw notHandedOver(decision)
    if (decision.changes.length === 0) return
    this.#commit(decision.changes)
    this.#state = undefined
    this.#forget(decision.changes.flatMap(change => (change.type === 'block-returned' ? [change.prefix] : [])))
  }

  /** Has onBlockReturned called for blocks that were given back. */
  #forget(returned: readonly Prefix[]): void {
    for (const prefix of returned) {
      this.#blocks.delete(formatPrefix(prefix))
      this.#left.set(formatPrefix(prefix), { prefix, attempt: undefined })
    }
  }

  #commit(events: readonly StoredChange[]): void {
    try {
      this.#edges.store.commit(events)
      this.#storeHasFailed = false
    } catch (cause) {
      this.#storeHasFailed = true
      throw cause
    }
  }

  #restore(): State {
    const nowUnixMs = this.#edges.nowUnixMs()
    this.#clockOffsetMs = nowUnixMs - this.#edges.uptimeMs()
    this.#state = restoreState(this.#pools, this.#edges.store.load(), nowUnixMs)
    this.#seeForeign(this.#state)
    return this.#state
  }

  // Else an address would be reused at once when the clock is set forward, and kept out for hours when it is set back.
  #followClock(state: State, nowUnixMs: number): void {
    const stepMs = nowUnixMs - this.#edges.uptimeMs() - this.#clockOffsetMs
    if (Math.abs(stepMs) < MIN_CLOCK_STEP_MS) return
    followClock(state, stepMs)
    this.#clockOffsetMs += stepMs
  }

  #probe(): void {
    try {
      this.#edges.store.probe()
      this.#storeHasFailed = false
    } catch (cause) {
      throw asProblem(cause)
    }
  }

  #leave(left: LeftBlock): Promise<void> {
    const key = formatPrefix(left.prefix)
    left.attempt = this.#edges.onBlockReturned(left.prefix, Deadline.in(BLOCK_TIMEOUT_MS)).then(() => {
      if (this.#left.get(key) === left) this.#left.delete(key)
    })
    return left.attempt
  }

  /** Ends the leaving of a block that the node has again. */
  async #stay(key: string): Promise<void> {
    const attempt = this.#left.get(key)?.attempt
    this.#left.delete(key)
    // How it ended does not matter: onBlockTaken comes after it, and makes the block ready from whatever is there.
    await attempt?.catch(() => {})
  }

  #whenBlockIsReady(block: Prefix): Promise<void> {
    const key = formatPrefix(block)
    const known = this.#blocks.get(key)
    if (known !== undefined) return known
    const taken = this.#stay(key).then(() => this.#edges.onBlockTaken(block, Deadline.in(BLOCK_TIMEOUT_MS)))
    const ready = taken.catch((cause: unknown) => {
      // Forgotten, so that the next request for the block tries again. The lease stays: its owner asks again or lets go.
      this.#blocks.delete(key)
      throw new IpamProblem('busy', `block ${key} is not ready: ${(cause as Error).message}`, { cause })
    })
    this.#blocks.set(key, ready)
    return ready
  }
}

function takesBlock(events: readonly LeaseEvent[]): boolean {
  return events.some(({ type }) => type === 'block-taken')
}

function refuseLate({ deadlineUnixMs }: Pick<AllocateRequest, 'deadlineUnixMs'>, nowUnixMs: number): void {
  if (deadlineUnixMs === undefined || nowUnixMs < deadlineUnixMs) return
  throw new IpamProblem(
    'deadline-passed',
    `deadlineUnixMs ${deadlineUnixMs} was ${nowUnixMs - deadlineUnixMs} ms ago: nothing was changed`,
  )
}

function asProblem(cause: unknown): IpamProblem {
  if (cause instanceof IpamProblem) return cause
  if (cause instanceof StoreError) return storeFailed(cause)
  return new IpamProblem('internal', 'ipamd failed; its log has more', { cause })
}

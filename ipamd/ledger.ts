import { IpamProblem } from '../lib/ipam/errors.ts'
import type { LeaseEvent, StoredChange } from './allocator/events.ts'
import type { Pool } from './allocator/pool.ts'
import type { Snapshot } from './allocator/snapshot.ts'
import { evolve, restoreState, type State } from './allocator/state.ts'
import { problemFor } from './problems.ts'
import type { Store } from './store/store.ts'

export interface LedgerEdges {
  readonly store: Store
  /** The wall clock, in unix milliseconds. */
  readonly nowUnixMs: () => number
  /** Since the machine booted, on a clock that nobody sets, in milliseconds: tells when the wall clock was set, also between two runs. */
  readonly uptimeMs: () => number
}

/** What one request asks of the state. @throws {IpamProblem} to refuse. */
export type Decide<Reply> = (
  state: State,
  nowUnixMs: number,
) => { readonly reply: Reply; readonly events: readonly LeaseEvent[] }

/** What was decided and stored. */
export interface Stored<Reply> {
  readonly reply: Reply
  /** Resolves when it would survive a loss of power. @throws {IpamProblem} */
  readonly whenDurable: () => Promise<void>
}

type WhenDurable = Stored<unknown>['whenDurable']

interface Command {
  /** Decides, and returns what is to be stored and how to answer once it is. @throws {IpamProblem} to refuse. */
  readonly decide: (
    state: State,
    nowUnixMs: number,
  ) => { readonly events: readonly LeaseEvent[]; readonly answer: (whenDurable: WhenDurable) => void }
  readonly reject: (reason: Error) => void
}

// Differences below are the rounding and the drift of clocks.
const MIN_CLOCK_STEP_MS = 1000

/**
 * The one writer of the store. Requests that arrive in one turn of the event loop are decided in order against one state
 * and share one commit. Each is answered when the commit is durable, never before (invariant 2): execute() sees to that, or who
 * asked by store(), to wire a pod meanwhile.
 */
export class Ledger {
  readonly #pools: readonly Pool[]
  readonly #edges: LedgerEdges
  /** Undefined after a failed commit, until it is restored from the store. */
  #state: State | undefined
  /** What the wall clock said when the machine booted, by the clock under which the moments in the state are right. */
  #bootedAtUnixMs: number
  /** By how much the wall clock was set since the moments in the store were last right. */
  #unstoredStepMs = 0
  /** True when the store knows the clock of this boot. */
  #clockIsStored: boolean
  #storeHasFailed = false
  #queue: Command[] = []

  /** @throws {StoreError} when the store can't be read. */
  constructor(pools: readonly Pool[], edges: LedgerEdges) {
    this.#pools = pools
    this.#edges = edges
    const nowUnixMs = edges.nowUnixMs()
    const snapshot = edges.store.load()
    this.#clockIsStored = snapshot.bootedAtUnixMs !== undefined
    this.#bootedAtUnixMs = snapshot.bootedAtUnixMs ?? Math.round(nowUnixMs - edges.uptimeMs())
    // It may have been set while nobody looked.
    this.#followClock(nowUnixMs)
    this.#restore(snapshot, nowUnixMs)
  }

  /** Decides with the others of this turn, and resolves when what was decided is durable. @throws {IpamProblem} */
  async execute<Reply>(decide: Decide<Reply>): Promise<Reply> {
    const { reply, whenDurable } = await this.store(decide)
    await whenDurable()
    return reply
  }

  /**
   * Decides with the others of this turn, and resolves when what was decided survives the end of the process, though not yet that of
   * the machine. @throws {IpamProblem}
   */
  store<Reply>(decide: Decide<Reply>): Promise<Stored<Reply>> {
    return new Promise((resolve, reject) => {
      if (this.#queue.length === 0) setImmediate(() => this.flush())
      this.#queue.push({
        decide: (state, nowUnixMs) => {
          const { reply, events } = decide(state, nowUnixMs)
          return { events, answer: whenDurable => resolve({ reply, whenDurable }) }
        },
        reject,
      })
    })
  }

  /**
   * Decides at once, behind what is waiting, and stores changes that the state can't follow: it is restored from the store.
   *
   * Resolves when they are durable. @throws {IpamProblem}
   */
  async replace(decide: (state: State, nowUnixMs: number) => readonly StoredChange[]): Promise<void> {
    this.flush()
    try {
      const nowUnixMs = this.#edges.nowUnixMs()
      const changes = decide(this.#currentState(nowUnixMs), nowUnixMs)
      if (changes.length > 0) {
        this.#commit(changes)
        this.#state = undefined
      }
    } catch (cause) {
      throw problemFor(cause)
    }
    await this.#beginToSync()()
  }

  /** Commits what is waiting. */
  flush(): void {
    const batch = this.#queue
    this.#queue = []
    if (batch.length === 0) return
    try {
      const answers = this.#decideAndCommit(batch)
      const whenDurable = this.#beginToSync()
      for (const answer of answers) answer(whenDurable)
    } catch (cause) {
      // The state in memory has what the store has not.
      this.#state = undefined
      const problem = problemFor(cause)
      for (const { reject } of batch) reject(problem)
    }
  }

  /** Writes, without a change, when the last write failed. @throws {IpamProblem} when it still does. */
  probeAfterFailure(): void {
    if (!this.#storeHasFailed) return
    try {
      this.#edges.store.probe()
      this.#storeHasFailed = false
    } catch (cause) {
      throw problemFor(cause)
    }
  }

  /**
   * Has the store know the clock, and follow it when it was set: the next commit does it too, but may be long in coming. To be called
   * at start and then now and then. @throws {IpamProblem}
   */
  storeClockStep(): void {
    try {
      this.#currentState(this.#edges.nowUnixMs())
      if (this.#unstoredStepMs === 0 && this.#clockIsStored) return
      this.#commit([])
      // Nobody waits for it, and the next request may be long in coming.
      void this.#beginToSync()
    } catch (cause) {
      throw problemFor(cause)
    }
  }

  /** Has the disk keep what is stored, whether somebody waits for it or not. */
  #beginToSync(): WhenDurable {
    const durable = this.#edges.store.whenDurable().catch((cause: unknown) => {
      // Also for those who do not wait: the store takes nothing from now on.
      this.#storeHasFailed = true
      return problemFor(cause)
    })
    return async () => {
      const failure = await durable
      if (failure !== undefined) throw failure
    }
  }

  /** @throws when nothing of the batch was stored. */
  #decideAndCommit(batch: readonly Command[]): readonly ((whenDurable: WhenDurable) => void)[] {
    const nowUnixMs = this.#edges.nowUnixMs()
    const state = this.#currentState(nowUnixMs)
    const answers: ((whenDurable: WhenDurable) => void)[] = []
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
    if (events.length > 0) {
      this.#commit(events)
      state.leases.settle()
    }
    return answers
  }

  #commit(events: readonly StoredChange[]): void {
    const stepMs = this.#unstoredStepMs
    try {
      // Before what was decided since, whose moments are of the new clock.
      const clock: readonly StoredChange[] = [
        ...(stepMs === 0 ? [] : [{ type: 'clock-set' as const, stepMs }]),
        ...(stepMs === 0 && this.#clockIsStored
          ? []
          : [{ type: 'clock-seen' as const, bootedAtUnixMs: this.#bootedAtUnixMs }]),
      ]
      this.#edges.store.commit(clock.length === 0 ? events : [...clock, ...events])
      this.#unstoredStepMs = 0
      this.#clockIsStored = true
      this.#storeHasFailed = false
    } catch (cause) {
      this.#storeHasFailed = true
      throw cause
    }
  }

  #currentState(nowUnixMs: number): State {
    this.#followClock(nowUnixMs)
    return this.#state ?? this.#restore(this.#edges.store.load(), nowUnixMs)
  }

  #restore(snapshot: Snapshot, nowUnixMs: number): State {
    const stepMs = this.#unstoredStepMs
    const state = restoreState(this.#pools, snapshot, nowUnixMs - stepMs)
    if (stepMs !== 0) evolve(state, { type: 'clock-set', stepMs })
    this.#state = state
    return state
  }

  // Else an address would be reused at once when the clock is set forward, and kept out for hours when it is set back.
  #followClock(nowUnixMs: number): void {
    const stepMs = Math.round(nowUnixMs - this.#edges.uptimeMs() - this.#bootedAtUnixMs)
    if (Math.abs(stepMs) < MIN_CLOCK_STEP_MS) return
    if (this.#state !== undefined) evolve(this.#state, { type: 'clock-set', stepMs })
    this.#bootedAtUnixMs += stepMs
    this.#unstoredStepMs += stepMs
  }
}

import { pause } from '../lib/time/pause.ts'

export interface LevelLoopOptions {
  /** One look and what follows from it. True when all is as wanted; false, or a rejection, asks for another look soon. */
  readonly pass: () => Promise<boolean>
  /** A look is taken at least this often, whatever happened. */
  readonly everyMs: number
  /** The time between two looks is at least this many times what the last one took: a bound on the CPU that looking costs. */
  readonly restFactor: number
  /** Told of what a pass rejected with. */
  readonly onError: (error: unknown) => void
  readonly random?: () => number
}

/** Between two looks, even when they cost nothing: what comes in a burst is looked at once. */
const SETTLE_MS = 20
const MAX_REST_MS = 2_000
const FIRST_RETRY_MS = 200
const MAX_RETRY_MS = 10_000

/**
 * Looks again and again, and never twice at a time: when it is poked, now and then, and soon after a look that did not end well
 * (with growing pauses). What it is poked for is not told: a pass looks at everything there is.
 */
export class LevelLoop {
  readonly #options: LevelLoopOptions
  readonly #random: () => number
  #isPoked = true
  #wake: (() => void) | undefined
  #failures = 0

  constructor(options: LevelLoopOptions) {
    this.#options = options
    this.#random = options.random ?? Math.random
  }

  /** Asks for a look. */
  poke(): void {
    this.#isPoked = true
    this.#wake?.()
  }

  /** Runs until `signal` says stop; a pass that is under way ends first. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      this.#isPoked = false
      const startedAtMs = performance.now()
      const isDone = await this.#pass()
      this.#failures = isDone ? 0 : this.#failures + 1
      await this.#rest(performance.now() - startedAtMs, signal)
    }
  }

  async #pass(): Promise<boolean> {
    try {
      return await this.#options.pass()
    } catch (error) {
      this.#options.onError(error)
      return false
    }
  }

  async #rest(tookMs: number, signal: AbortSignal): Promise<void> {
    const { everyMs, restFactor } = this.#options
    const settleMs = Math.max(SETTLE_MS, Math.min(MAX_REST_MS, tookMs * restFactor))
    await pause(settleMs, signal)
    if (this.#isPoked || signal.aborted) return
    const retryMs = Math.min(MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#failures - 1, 10))
    // Spread, so that the nodes of a cluster do not look at the same time.
    const waitMs = this.#failures > 0 ? retryMs * (1 + this.#random()) : everyMs * (0.75 + this.#random() / 2)
    const awake = new AbortController()
    this.#wake = () => awake.abort()
    await pause(waitMs, AbortSignal.any([signal, awake.signal]))
    this.#wake = undefined
  }
}

/** How much faster than time passes the history is forgotten when there is more to forget. */
const CATCH_UP = 24

/** What is known when somebody asks what to forget. */
export interface HistoryMoment {
  /** When the oldest of what is kept happened, by the clock of then; undefined when nothing is kept. */
  readonly oldestUnixMs: number | undefined
  readonly nowUnixMs: number
  /** On a clock that nobody sets. */
  readonly uptimeMs: number
  readonly keepMs: number
}

/**
 * Up to when the history is forgotten.
 *
 * How old something is, only the wall clock tells, and that may be set years ahead by mistake, also while nobody looked. So nothing is
 * forgotten at once: for each hour that passes, a day of the history at most. A node that was down for a month has caught up after
 * thirty hours, and until then keeps more.
 */
export class HistoryCutOff {
  /** Up to when the history was forgotten at the look before, and when that was. */
  #last: { readonly beforeUnixMs: number; readonly uptimeMs: number } | undefined

  /** What happened before this moment is to be forgotten. To be asked now and then; undefined when there is nothing. */
  next({ oldestUnixMs, nowUnixMs, uptimeMs, keepMs }: HistoryMoment): number | undefined {
    if (oldestUnixMs === undefined) return undefined
    const last = this.#last ?? { beforeUnixMs: oldestUnixMs, uptimeMs }
    // The years before a clock was set right hold nothing that would have to be waited for.
    const fromUnixMs = oldestUnixMs - last.beforeUnixMs > keepMs ? oldestUnixMs : last.beforeUnixMs
    const beforeUnixMs = Math.min(nowUnixMs - keepMs, fromUnixMs + (uptimeMs - last.uptimeMs) * CATCH_UP)
    this.#last = { beforeUnixMs, uptimeMs }
    return beforeUnixMs
  }
}

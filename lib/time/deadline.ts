/** What was being done when its time ran out. */
export class DeadlineExceeded extends Error {
  override readonly name = 'DeadlineExceeded'
  readonly doing: string

  constructor(doing: string) {
    super(`deadline passed while ${doing}`)
    this.doing = doing
  }
}

/**
 * A point in time by which something must have ended (invariant 6: every wait has a deadline).
 *
 * Measured on the monotonic clock, so that a step of the wall clock neither cuts a wait short nor stretches it. It crosses a
 * process border as unix milliseconds, which is the one clock both sides share.
 */
export class Deadline {
  readonly #endsAtMs: number

  private constructor(endsAtMs: number) {
    this.#endsAtMs = endsAtMs
  }

  /** A deadline `ms` milliseconds from now. */
  static in(ms: number): Deadline {
    return new Deadline(performance.now() + ms)
  }

  /** The deadline that another process named in unix milliseconds. */
  static atUnixMs(unixMs: number): Deadline {
    return Deadline.in(unixMs - Date.now())
  }

  /** This deadline as unix milliseconds, for another process. */
  toUnixMs(): number {
    return Math.ceil(Date.now() + (this.#endsAtMs - performance.now()))
  }

  /** Whole milliseconds left, rounded up; 0 when it has passed. */
  remainingMs(): number {
    return Math.max(0, Math.ceil(this.#endsAtMs - performance.now()))
  }

  /** True when no time is left. */
  isPast(): boolean {
    return this.remainingMs() === 0
  }

  /** The later of this deadline and `ms` from now: the grace that undoing gets after a deadline has passed. */
  extended(ms: number): Deadline {
    return new Deadline(Math.max(this.#endsAtMs, performance.now() + ms))
  }

  /** The earlier of this deadline and `ms` from now. */
  capped(ms: number): Deadline {
    return new Deadline(Math.min(this.#endsAtMs, performance.now() + ms))
  }

  /** @throws {DeadlineExceeded} naming `doing` when no time is left. */
  throwIfPast(doing: string): void {
    if (this.isPast()) throw new DeadlineExceeded(doing)
  }
}

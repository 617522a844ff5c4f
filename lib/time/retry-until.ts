import type { Deadline } from './deadline.ts'
import { pause } from './pause.ts'

const NEVER = new AbortController().signal

export interface RetryOptions {
  readonly by: Deadline
  readonly everyMs: number
  /** Whether it is worth while to try again after this. */
  readonly isPassing: (failure: unknown) => boolean
}

/** Does `work` until it succeeds. Its failure is thrown when it is one that does not pass, or when the deadline has passed. */
export async function retryUntil<T>(work: () => T | Promise<T>, { by, everyMs, isPassing }: RetryOptions): Promise<T> {
  for (;;) {
    try {
      return await work()
    } catch (failure) {
      if (!isPassing(failure) || by.isPast()) throw failure
    }
    await pause(Math.min(everyMs, by.remainingMs()), NEVER)
  }
}

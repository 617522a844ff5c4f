import { setTimeout as delay } from 'node:timers/promises'
import { Deadline } from '../../lib/time/deadline.ts'

/** How often a condition is looked at. */
const POLL_EVERY_MS = 50
/** What takes a second or two, on a machine with a lot of other work. */
const USUAL_MS = 90_000

/**
 * Polls until `probe` gives something other than undefined or false.
 *
 * @param what completes the sentence "waited for …".
 * @throws {Error} naming `what`, with the last failure of `probe` as its cause, when `timeoutMs` have passed. What `probe`
 *   throws does not end the wait: a cluster answers with errors while it starts, and while a test takes a part of it away.
 */
export async function until<T>(
  what: string,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  timeoutMs = USUAL_MS,
): Promise<T> {
  const by = Deadline.in(timeoutMs)
  let cause: unknown
  for (;;) {
    try {
      const found = await probe()
      if (found !== undefined && found !== false) return found
      cause = undefined
    } catch (failure) {
      cause = failure
    }
    if (by.isPast()) {
      const reason = cause instanceof Error ? `: ${cause.message}` : ''
      throw new Error(`waited ${timeoutMs} ms for ${what}${reason}`, { cause })
    }
    await delay(POLL_EVERY_MS)
  }
}

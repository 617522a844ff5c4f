import { setTimeout as delay } from 'node:timers/promises'
import { Deadline } from '../../../lib/time/deadline.ts'

/** How often a condition is looked at. */
const POLL_EVERY_MS = 20

/**
 * Polls until `probe` gives something other than undefined.
 *
 * @param what completes the sentence "waited for …".
 * @throws {Error} naming `what` when `timeoutMs` have passed; what `probe` throws ends the wait at once.
 */
export async function until<T>(
  what: string,
  probe: () => T | undefined | Promise<T | undefined>,
  timeoutMs = 10_000,
): Promise<T> {
  const by = Deadline.in(timeoutMs)
  for (;;) {
    const found = await probe()
    if (found !== undefined) return found
    if (by.isPast()) throw new Error(`waited ${String(timeoutMs)} ms for ${what}`)
    await delay(POLL_EVERY_MS)
  }
}

import { setTimeout as pause } from 'node:timers/promises'

/** How long to wait between two looks at a condition. */
const LOOK_EVERY_MS = 10

/**
 * Waits until `condition` returns something other than `undefined` or `false`, and returns that.
 *
 * @throws {Error} naming `what`, when that has not happened in `timeoutMs` (10,000 when absent).
 */
export async function until<T>(
  what: string,
  condition: () => Promise<T | undefined | false> | T | undefined | false,
  timeoutMs = 10_000,
): Promise<T> {
  const endsAtMs = performance.now() + timeoutMs
  for (;;) {
    const value = await condition()
    if (value !== undefined && value !== false) return value
    if (performance.now() >= endsAtMs) throw new Error(`Waited ${timeoutMs} ms in vain until ${what}`)
    await pause(LOOK_EVERY_MS)
  }
}

const FIRST_MS = 500
const MAX_MS = 30_000

/**
 * How long to wait after `failures` in a row (from 1): doubled each time up to half a minute, and spread at random over its
 * upper half, so that the nodes of a cluster do not all come back at once.
 *
 * @param random from 0 to 1.
 */
export function backoffMs(failures: number, random: number): number {
  const ceiling = Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(failures - 1, 16))
  return Math.round(ceiling * (0.5 + random / 2))
}

import { lstatSync, readdirSync, renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { parseFallbackNoteName, type Fallback } from '../lib/ipam/fallback.ts'
import type { FallbackCount } from '../lib/ipam/served.ts'
import type { Log } from '../lib/log/json-log.ts'

/** A note that is being counted: writers do not know this name. */
const COUNTING = '.counting'

export interface FallbackEdges {
  readonly log: Log
  readonly count: (fallback: Fallback, by: number) => void
  readonly nowUnixMs: () => number
}

/**
 * What the executable did without this daemon since it started, from the notes that it leaves in the spool: see
 * lib/os/fallback-note.ts.
 */
export class Fallbacks {
  readonly #folder: string
  readonly #edges: FallbackEdges
  readonly #counts = new Map<string, FallbackCount>()

  constructor(folder: string, edges: FallbackEdges) {
    this.#folder = folder
    this.#edges = edges
  }

  /**
   * Counts the notes that are there, and removes them. To be called now and then, and before anybody looks.
   *
   * @throws the errno of the folder, or of a note that cannot be removed.
   */
  collect(): void {
    for (const name of readdirSync(this.#folder)) {
      const fallback = parseFallbackNoteName(name.startsWith(COUNTING) ? name.slice(COUNTING.length) : name)
      if (fallback === undefined) continue
      const calls = take(this.#folder, name)
      if (calls === 0) continue
      this.#add(fallback, calls)
      this.#edges.count(fallback, calls)
      this.#edges.log.warn('calls were done without ipamd, ten times slower', { ...fallback, calls })
    }
  }

  read(): readonly FallbackCount[] {
    return [...this.#counts.values()]
  }

  #add(fallback: Fallback, calls: number): void {
    const key = `${fallback.verb} ${fallback.reason}`
    const known = this.#counts.get(key)?.calls ?? 0
    this.#counts.set(key, { ...fallback, calls: known + calls, lastSeenUnixMs: this.#edges.nowUnixMs() })
  }
}

/** Takes a note away and returns how many calls it counts. Who still has it open adds a byte that nobody counts. */
function take(folder: string, name: string): number {
  const aside = join(folder, name.startsWith(COUNTING) ? name : `${COUNTING}${name}`)
  if (!name.startsWith(COUNTING)) renameSync(join(folder, name), aside)
  const stats = lstatSync(aside)
  rmSync(aside, { recursive: true })
  return stats.isFile() ? stats.size : 0
}

import type { TallyCount } from '../lib/ipam/served.ts'

/** How often something happened since the daemon started, and when last, by what it is called. Names come from the code, not from callers. */
export class Tally {
  readonly #nowUnixMs: () => number
  readonly #counts = new Map<string, TallyCount>()

  constructor(nowUnixMs: () => number) {
    this.#nowUnixMs = nowUnixMs
  }

  count(name: string): void {
    const times = (this.#counts.get(name)?.times ?? 0) + 1
    this.#counts.set(name, { name, times, lastUnixMs: this.#nowUnixMs() })
  }

  /** In the order in which each happened first. */
  read(): readonly TallyCount[] {
    return [...this.#counts.values()]
  }
}

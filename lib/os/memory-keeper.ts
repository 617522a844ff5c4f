import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** What a process holds may grow by so much before it is looked for what of it is dead. */
const SLACK_BYTES = 4 * 1024 * 1024
/** The second collection frees what the first one only found to be dead, and lets go of pages that V8 keeps for a while. */
const COLLECTIONS = 2

export interface MemoryEdges {
  /** What the process has in memory now. */
  readonly residentBytes: () => number
  /** Clears the heap of what is dead. It takes tens of milliseconds of this thread. */
  readonly collect: () => void
  /** Gives back to the kernel what C code has freed. */
  readonly trim: () => void
}

/**
 * Gives back what a burst of work has left behind, when the burst is over: V8 alone clears its heap only once it has grown again,
 * which in a daemon at rest is never. Nothing is collected while the process does not grow.
 */
export class MemoryKeeper {
  readonly #edges: MemoryEdges
  #atRestBytes: number
  #left = 0

  constructor(edges: MemoryEdges) {
    this.#edges = edges
    this.#atRestBytes = edges.residentBytes()
  }

  /** One look, to be taken now and then. */
  look(): void {
    const { residentBytes, collect, trim } = this.#edges
    const bytes = residentBytes()
    if (bytes > this.#atRestBytes + SLACK_BYTES) this.#left = COLLECTIONS
    if (this.#left === 0) {
      this.#atRestBytes = Math.min(this.#atRestBytes, bytes)
      return
    }
    this.#left -= 1
    collect()
    trim()
    this.#atRestBytes = residentBytes()
  }
}

/** V8's own collector, which it shows to nobody without being asked. It is good for the whole life of the process. */
export function heapCollector(): () => void {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (typeof collect !== 'function') throw new Error('this V8 has no collector to call: want --expose-gc')
  return () => void collect()
}

import { IpamProblem } from '../lib/ipam/errors.ts'
import { Deadline } from '../lib/time/deadline.ts'
import type { ForeignRange } from './allocator/foreign-range.ts'
import { outsideBlocks } from './allocator/overlaps.ts'
import type { State } from './allocator/state.ts'

export interface SurroundingsEdges {
  /** Ranges that nothing is leased from, whatever the node looks like. */
  readonly serviceRanges?: readonly ForeignRange[]
  /** What the node itself uses. Called at start, and before a block is taken. Absent in a daemon that does not look. */
  readonly readHostRanges?: (by: Deadline) => Promise<readonly ForeignRange[]>
}

const LOOK_TIMEOUT_MS = 2000

/** What nothing may be leased from, beside pools and blocks: it is looked at again before each block is taken. */
export class Surroundings {
  readonly serviceRanges: readonly ForeignRange[]
  readonly #readHostRanges: SurroundingsEdges['readHostRanges']
  /** The look that is under way. */
  #looking: Promise<void> | undefined
  #hostRanges: readonly ForeignRange[] = []

  constructor({ serviceRanges = [], readHostRanges }: SurroundingsEdges) {
    this.serviceRanges = serviceRanges
    this.#readHostRanges = readHostRanges
  }

  /** False when there is no way to look at the node. */
  get canLook(): boolean {
    return this.#readHostRanges !== undefined
  }

  /** Reads what the node uses now. One look serves all who wait for it, with the time of the first. @throws {IpamProblem} busy */
  look(timeoutMs = LOOK_TIMEOUT_MS): Promise<void> {
    this.#looking ??= this.#lookNow(timeoutMs).finally(() => (this.#looking = undefined))
    return this.#looking
  }

  /** What the node used when it was last looked at, but for what lies in its blocks. */
  hostRanges({ blocks }: State): readonly ForeignRange[] {
    return outsideBlocks(this.#hostRanges, blocks)
  }

  /** Everything that a new block must not overlap. */
  foreignTo(state: State): readonly ForeignRange[] {
    return [...this.serviceRanges, ...this.hostRanges(state)]
  }

  async #lookNow(timeoutMs: number): Promise<void> {
    if (this.#readHostRanges === undefined) return
    try {
      this.#hostRanges = await this.#readHostRanges(Deadline.in(timeoutMs))
    } catch (cause) {
      throw new IpamProblem('busy', `the node's ranges cannot be read: ${(cause as Error).message}`, { cause })
    }
  }
}

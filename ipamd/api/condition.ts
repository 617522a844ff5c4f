import { statSync } from 'node:fs'
import { IpamProblem } from '../../lib/ipam/errors.ts'
import { observeSpool, type SpoolReport } from '../spool-report.ts'
import type { Store } from '../store/store.ts'

/** A release that waits for longer than this was not taken at two turns of the spool's replay. */
const MAX_SPOOL_AGE_MS = 90_000

export interface ConditionEdges {
  readonly store: Pick<Store, 'probe'>
  readonly storePath: string
  readonly spoolFolder: string
  readonly nowUnixMs: () => number
}

/** How the daemon is, for those who watch it. */
export class Condition {
  readonly #edges: ConditionEdges

  constructor(edges: ConditionEdges) {
    this.#edges = edges
  }

  /**
   * Sees whether leases can be stored, and whether releases that were left in the spool were carried out. A full pool is not
   * asked for here: a node whose pool is full still gives addresses back.
   *
   * @throws {IpamProblem} busy, with everything that is in the way.
   */
  checkReady(): void {
    const obstacles = [this.#storeObstacle(), this.#spoolObstacle()].filter(text => text !== undefined)
    if (obstacles.length > 0) throw new IpamProblem('busy', `not ready: ${obstacles.join('; ')}`)
  }

  spool(): SpoolReport {
    return observeSpool(this.#edges.spoolFolder)
  }

  /** Size of the store on disk, with its write-ahead log. */
  storeBytes(): number {
    return [this.#edges.storePath, `${this.#edges.storePath}-wal`]
      .map(path => statSync(path, { throwIfNoEntry: false })?.size ?? 0)
      .reduce((sum, size) => sum + size)
  }

  #storeObstacle(): string | undefined {
    try {
      this.#edges.store.probe()
      return undefined
    } catch (cause) {
      return (cause as Error).message
    }
  }

  #spoolObstacle(): string | undefined {
    try {
      const { waiting, oldestAtUnixMs } = this.spool()
      if (oldestAtUnixMs === undefined) return undefined
      const ageMs = this.#edges.nowUnixMs() - oldestAtUnixMs
      if (ageMs <= MAX_SPOOL_AGE_MS) return undefined
      const seconds = Math.floor(ageMs / 1000)
      return `${waiting} releases wait in ${this.#edges.spoolFolder}, the oldest for ${seconds} s: see the log for the reason`
    } catch (cause) {
      return `the spool ${this.#edges.spoolFolder} cannot be read: ${(cause as Error).message}`
    }
  }
}

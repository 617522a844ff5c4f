import type { StoredChange } from '../allocator/events.ts'
import type { Snapshot } from '../allocator/snapshot.ts'
import type { Store } from '../store/store.ts'
import type { Metrics } from './metrics.ts'

/** Who wants to know what was committed. */
export interface CommitWatchers {
  readonly metrics: Metrics
  /** A clock that nobody sets, in milliseconds. */
  readonly uptimeMs: () => number
  /** Called after each commit, when it is durable. */
  readonly onCommit: () => void
}

/** The store, with its commits measured, counted and announced. */
export class WatchedStore implements Store {
  readonly #store: Store
  readonly #watchers: CommitWatchers
  /** Commits that are not known to be durable, oldest first. */
  #pending: { readonly events: readonly StoredChange[]; readonly startedAtMs: number }[] = []

  constructor(store: Store, watchers: CommitWatchers) {
    this.#store = store
    this.#watchers = watchers
  }

  commit(events: readonly StoredChange[]): void {
    const { metrics, uptimeMs } = this.#watchers
    const startedAtMs = uptimeMs()
    try {
      this.#store.commit(events)
    } catch (cause) {
      metrics.countCommitFailure()
      throw cause
    }
    this.#pending.push({ events, startedAtMs })
  }

  async whenDurable(): Promise<void> {
    const { metrics, uptimeMs, onCommit } = this.#watchers
    const durable = this.#pending
    this.#pending = []
    try {
      await this.#store.whenDurable()
    } catch (cause) {
      if (durable.length > 0) metrics.countCommitFailure()
      throw cause
    }
    for (const { events, startedAtMs } of durable) metrics.countCommit(events, uptimeMs() - startedAtMs)
    if (durable.length > 0) onCommit()
  }

  load(): Snapshot {
    return this.#store.load()
  }

  probe(): void {
    this.#store.probe()
  }

  oldestEventUnixMs(): number | undefined {
    return this.#store.oldestEventUnixMs()
  }

  trimEvents(bounds: Parameters<Store['trimEvents']>[0]): boolean {
    return this.#store.trimEvents(bounds)
  }

  close(): void {
    this.#store.close()
  }
}

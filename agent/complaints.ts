import type { Log } from '../lib/log/json-log.ts'

const TELL_AGAIN_MS = 600_000

/** Failures that come again and again, told when they are new, and now and then. */
export class Complaints {
  readonly #log: Log
  readonly #told = new Map<string, { readonly message: string; readonly atMs: number }>()

  constructor(log: Log) {
    this.#log = log
  }

  /** Takes what `what`, something done again and again, has failed with. */
  about(what: string): (error: unknown) => void {
    return error => {
      const { message } = error as Error
      const told = this.#told.get(what)
      const atMs = performance.now()
      if (told?.message === message && atMs - told.atMs < TELL_AGAIN_MS) return
      this.#told.set(what, { message, atMs })
      this.#log.error(`${what} failed`, { error })
    }
  }
}

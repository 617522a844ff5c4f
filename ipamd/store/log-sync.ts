import { closeSync, constants, fdatasync, fdatasyncSync, openSync } from 'node:fs'

/**
 * Has the disk keep what was written to a file, while its writer goes on: one wait at a time, which all share whose writes came
 * before it began.
 */
export class LogSync {
  readonly #path: string
  #fd: number | undefined
  #isDirty = false
  /** The wait that began last. Once one has failed, it is that one for good. */
  #last: Promise<void> = Promise.resolve()
  /** The wait that begins when the last one has ended. */
  #queued: Promise<void> | undefined

  /** The file has to be there by the time that something is written. */
  constructor(path: string) {
    this.#path = path
  }

  /** Says that something was written. */
  noteWrite(): void {
    this.#isDirty = true
  }

  /**
   * Resolves when all that was written until now would survive a loss of power.
   *
   * @throws what fdatasync(2) says, then and ever after: the kernel forgets what it could not write, and a later wait that succeeds
   *   would be of something else.
   */
  whenSynced(): Promise<void> {
    if (!this.#isDirty) return this.#last
    this.#queued ??= this.#next()
    return this.#queued
  }

  /** Waits, with the whole process, and closes the file. @throws what openat(2) and fdatasync(2) say. */
  close(): void {
    const fd = this.#fd ?? (this.#isDirty ? this.#open() : undefined)
    if (fd === undefined) return
    this.#isDirty = false
    this.#fd = undefined
    try {
      fdatasyncSync(fd)
    } finally {
      // Not under the hands of a wait that has begun.
      const close = (): void => closeSync(fd)
      void this.#last.then(close, close)
    }
  }

  async #next(): Promise<void> {
    await this.#last
    if (this.#queued !== undefined) this.#last = this.#queued
    this.#queued = undefined
    // Else close() has waited.
    if (!this.#isDirty) return
    this.#isDirty = false
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    fdatasync(this.#open(), failure => (failure === null ? resolve() : reject(failure)))
    await promise
  }

  #open(): number {
    this.#fd ??= openSync(this.#path, constants.O_RDONLY)
    return this.#fd
  }
}

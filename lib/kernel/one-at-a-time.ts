import { DeadlineExceeded } from '../time/deadline.ts'
import type { Deadline } from '../time/deadline.ts'

/** Runs tasks one after another, in the order they came. A task waits for its turn no longer than its own deadline. */
export class OneAtATime {
  readonly #waiting = new Set<() => void>()
  #busy = false

  /**
   * Runs `task` when those before it have ended.
   *
   * @param doing what the task does, for the error.
   * @throws {DeadlineExceeded} when its turn did not come in time: then `task` was not started.
   */
  async run<T>(task: () => Promise<T>, { by, doing }: { by: Deadline; doing: string }): Promise<T> {
    if (this.#busy) await this.#turn(by, doing)
    this.#busy = true
    try {
      by.throwIfPast(doing)
      return await task()
    } finally {
      this.#handOver()
    }
  }

  #turn(by: Deadline, doing: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const start = () => {
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(start)
        reject(new DeadlineExceeded(`waiting for others before ${doing}`))
      }, by.remainingMs())
      this.#waiting.add(start)
    })
  }

  #handOver(): void {
    const [next] = this.#waiting
    // Stays busy while it hands over: nobody may come between.
    this.#busy = next !== undefined
    if (next === undefined) return
    this.#waiting.delete(next)
    next()
  }
}

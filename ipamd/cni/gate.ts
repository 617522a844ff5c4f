import { DeadlineExceeded, type Deadline } from '../../lib/time/deadline.ts'

/** Lets a number of tasks in at once; others wait outside, first come first served, no longer than their own deadlines. */
export class Gate {
  readonly #width: number
  readonly #waiting = new Set<() => void>()
  #inside = 0

  constructor(width: number) {
    this.#width = width
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** @throws {DeadlineExceeded} when there was no room in time: then `task` was not started. */
  async pass<T>(task: () => Promise<T>, by: Deadline): Promise<T> {
    if (this.#inside < this.#width) this.#inside += 1
    else await this.#turn(by)
    try {
      return await task()
    } finally {
      this.#leave()
    }
  }

  #turn(by: Deadline): Promise<void> {
    return new Promise((resolve, reject) => {
      const enter = () => {
        clearTimeout(timer)
        resolve()
      }
      const timer = setTimeout(() => {
        this.#waiting.delete(enter)
        reject(new DeadlineExceeded('waiting for other calls'))
      }, by.remainingMs())
      this.#waiting.add(enter)
    })
  }

  /** Whoever waits longest takes the place over: the number inside does not change. */
  #leave(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#inside -= 1
      return
    }
    this.#waiting.delete(next)
    next()
  }
}

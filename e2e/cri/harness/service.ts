import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { kill } from 'node:process'

/** How much of a daemon's output is kept for the message of a failed test. */
const LOG_TAIL_CHARS = 32 * 1024

/** A daemon that was started by nsenter: its output, and signals to the daemon itself instead of to nsenter. */
export class Service implements AsyncDisposable {
  readonly #nsenter: ChildProcess
  readonly #command: string
  #log = ''

  constructor(nsenter: ChildProcess, command: string) {
    this.#nsenter = nsenter
    this.#command = command
    for (const stream of [nsenter.stdout, nsenter.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-LOG_TAIL_CHARS)
      })
    }
  }

  /** The last 32 Ki characters that it wrote to stdout and stderr. */
  get log(): string {
    return this.#log
  }

  /** Whether it has ended. */
  get isOver(): boolean {
    return this.#nsenter.exitCode !== null || this.#nsenter.signalCode !== null
  }

  /** @throws {Error} with the log when it has ended: for use while waiting for it to be ready. */
  throwIfOver(): void {
    if (this.isOver) throw new Error(`${this.#command} ended early:\n${this.#log}`)
  }

  /**
   * Sends `signal` and waits until the process has ended and was reaped.
   *
   * @throws {Error} when it is still there after `timeoutMs`.
   */
  async end(signal: 'SIGTERM' | 'SIGKILL', timeoutMs: number): Promise<void> {
    if (this.isOver) return
    const exited = once(this.#nsenter, 'exit', { signal: AbortSignal.timeout(timeoutMs) })
    const ended = exited.catch((cause: unknown) => {
      throw new Error(`${this.#command} did not end within ${String(timeoutMs)} ms of ${signal}`, { cause })
    })
    kill(this.#pid(), signal)
    await ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGKILL', 10_000)
  }

  /** nsenter forks to enter a pid namespace and waits: the daemon is its only child. */
  #pid(): number {
    const parent = String(this.#nsenter.pid)
    const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim()
    if (!/^\d+$/.test(children)) throw new Error(`${this.#command}: want one child of nsenter, found "${children}"`)
    return Number(children)
  }
}

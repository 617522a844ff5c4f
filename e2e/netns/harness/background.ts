import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Command } from '../../parts/command.ts'
import { until } from './until.ts'

/** Lines kept of what a process says on stderr and stdout; older ones are dropped. */
const MAX_LINES = 2000

export interface BackgroundOptions {
  readonly env?: Readonly<Record<string, string | undefined>>
}

/** How a background process ended. */
export interface Ending {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
}

/**
 * A long-lived process that a test started: a daemon, a server.
 *
 * The kernel kills it when the test process ends, however that ends (PR_SET_PDEATHSIG), so it can't outlive its test.
 */
export class Background implements AsyncDisposable {
  readonly command: Command
  /** What it has said so far, stdout and stderr, a line each. */
  readonly lines: string[] = []
  readonly #child: ChildProcess
  #ending: Ending | undefined
  #failure: Error | undefined

  private constructor(command: Command, options: BackgroundOptions) {
    this.command = command
    this.#child = spawn('setpriv', ['--pdeathsig=KILL', '--', ...command], {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(options.env === undefined ? {} : { env: options.env }),
    })
    this.#child.on('error', error => (this.#failure = error))
    this.#child.on('exit', (exitCode, signal) => (this.#ending = { exitCode, signal }))
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      if (stream === null) throw new Error(`${command.join(' ')}: has no stdout or stderr`)
      createInterface({ input: stream }).on('line', line => this.#keep(line))
    }
  }

  static start(command: Command, options: BackgroundOptions = {}): Background {
    return new Background(command, options)
  }

  /** @throws {Error} when the process could not be started. */
  get pid(): number {
    const { pid } = this.#child
    if (pid === undefined) throw new Error(`${this.command.join(' ')}: not started`, { cause: this.#failure })
    return pid
  }

  /** How the process ended, or `undefined` while it runs. */
  get ending(): Ending | undefined {
    return this.#ending
  }

  /**
   * Waits until `condition` holds, for `timeoutMs` (10,000 when absent).
   *
   * @throws {Error} with all that the process said, when it ends first or the time runs out.
   */
  async until<T>(
    what: string,
    condition: () => Promise<T | undefined | false> | T | undefined | false,
    timeoutMs?: number,
  ): Promise<T> {
    const holdsOrEnded = async (): Promise<T | undefined> => {
      const value = await condition()
      if (value !== undefined && value !== false) return value
      if (this.#failure !== undefined) throw this.#failure
      if (this.#ending !== undefined) throw new Error(`ended (${describe(this.#ending)}) before ${what}`)
      return undefined
    }
    try {
      return await until(what, holdsOrEnded, timeoutMs)
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause)
      throw new Error(`${this.command.join(' ')}: ${why}; it said: ${this.lines.join('\n') || 'nothing'}`, { cause })
    }
  }

  /** Sends `signal` and waits until the process has ended, killing it after `timeoutMs` (5,000 when absent). */
  async stop(signal: NodeJS.Signals = 'SIGTERM', timeoutMs = 5_000): Promise<Ending> {
    if (this.#ending !== undefined) return this.#ending
    this.#child.kill(signal)
    try {
      return await this.#ended(timeoutMs)
    } catch (cause) {
      this.#child.kill('SIGKILL')
      await this.#ended(timeoutMs)
      throw new Error(`${this.command.join(' ')}: did not end ${timeoutMs} ms after ${signal}`, { cause })
    }
  }

  /** Ends the process as a crash would, and waits for that, for `timeoutMs` (5,000 when absent). */
  async kill(timeoutMs?: number): Promise<Ending> {
    return await this.stop('SIGKILL', timeoutMs)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  async #ended(timeoutMs: number): Promise<Ending> {
    return await until('the process has ended', () => this.#ending, timeoutMs)
  }

  #keep(line: string): void {
    this.lines.push(line)
    if (this.lines.length > MAX_LINES) this.lines.shift()
  }
}

function describe({ exitCode, signal }: Ending): string {
  return signal === null ? `exit code ${exitCode}` : signal
}

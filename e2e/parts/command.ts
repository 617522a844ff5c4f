import { spawn } from 'node:child_process'

/** More output than this from one command is a fault, not something to keep in memory. */
const MAX_OUTPUT_BYTES = 32 * 1024 * 1024

/** A command as an argument array: nothing here ever goes through a shell. */
export type Command = readonly [string, ...string[]]

export interface CommandOptions {
  /** The whole environment; the caller's own when absent. */
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly cwd?: string
  /** What the command reads on stdin; nothing (end of file at once) when absent. */
  readonly stdin?: string
  /** After this the command is killed (60,000 when absent). */
  readonly timeoutMs?: number
}

/** How a command ended. */
export interface CommandOutcome {
  /** `null` when a signal ended it. */
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly isTimedOut: boolean
}

/** A command that did not succeed. The message holds the command, how it ended, and what it said. */
export class CommandError extends Error {
  override readonly name = 'CommandError'
  readonly command: Command
  readonly outcome: CommandOutcome

  constructor(command: Command, outcome: CommandOutcome) {
    const said = outcome.stderr.trim() || outcome.stdout.trim() || 'no output'
    super(`${command.join(' ')}: ${describeEnd(outcome)}: ${said}`)
    this.command = command
    this.outcome = outcome
  }
}

/**
 * Runs `command` and reports how it ended, whatever its exit code.
 *
 * @throws {Error} (code ENOENT, EACCES, …) when it cannot be started.
 */
export async function execute(command: Command, options: CommandOptions = {}): Promise<CommandOutcome> {
  const { promise, resolve, reject } = Promise.withResolvers<CommandOutcome>()
  const child = spawn(command[0], command.slice(1), {
    ...(options.env === undefined ? {} : { env: options.env }),
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let isTimedOut = false
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  let bytes = 0

  function stop(): void {
    child.kill('SIGKILL')
    // A grandchild may hold the pipes open for ever; without this, 'close' would wait for it.
    child.stdout.destroy()
    child.stderr.destroy()
  }
  function keep(chunks: Buffer[], chunk: Buffer): void {
    bytes += chunk.length
    if (bytes <= MAX_OUTPUT_BYTES) return void chunks.push(chunk)
    stop()
    reject(new Error(`${command.join(' ')}: more than ${MAX_OUTPUT_BYTES} bytes of output`))
  }

  const timer = setTimeout(() => {
    isTimedOut = true
    stop()
  }, options.timeoutMs ?? 60_000)
  child.stdout.on('data', (chunk: Buffer) => keep(stdout, chunk))
  child.stderr.on('data', (chunk: Buffer) => keep(stderr, chunk))
  // A command may end without reading its stdin: EPIPE says nothing that its exit code does not.
  child.stdin.on('error', error => void ('code' in error && error.code === 'EPIPE' ? undefined : reject(error)))
  child.stdin.end(options.stdin ?? '')
  child.on('error', reject)
  child.on('close', (exitCode, signal) =>
    resolve({ exitCode, signal, stdout: textOf(stdout), stderr: textOf(stderr), isTimedOut }),
  )
  return await promise.finally(() => clearTimeout(timer))
}

/**
 * Runs `command` and returns its stdout.
 *
 * @throws {CommandError} unless it exits with 0.
 */
export async function runCommand(command: Command, options: CommandOptions = {}): Promise<string> {
  const outcome = await execute(command, options)
  if (outcome.exitCode !== 0) throw new CommandError(command, outcome)
  return outcome.stdout
}

function textOf(chunks: readonly Buffer[]): string {
  return Buffer.concat(chunks).toString('utf8')
}

function describeEnd({ exitCode, signal, isTimedOut }: CommandOutcome): string {
  if (isTimedOut) return 'killed because its time ran out'
  return signal === null ? `exit code ${exitCode}` : `ended by ${signal}`
}

import { spawn } from 'node:child_process'
import { basename } from 'node:path'

export interface CommandOutput {
  readonly exitCode: number
  /** stdout and stderr in the order in which they came. */
  readonly text: string
}

export interface RunOptions {
  /** When the command is killed. */
  readonly timeoutMs: number
  readonly cwd?: string
}

type Command = readonly [string, ...string[]]

/** Runs a command and collects what it says; an exit code is an answer here, not a failure. No shell is involved. */
export async function outputOf(command: Command, options: RunOptions): Promise<CommandOutput> {
  const [file, ...args] = command
  const { timeoutMs, ...place } = options
  const limit = { timeout: timeoutMs, killSignal: 'SIGKILL' } as const
  const child = spawn(file, args, { ...place, ...limit, stdio: ['ignore', 'pipe', 'pipe'] })
  const chunks: Buffer[] = []
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
  const exitCode = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  const text = Buffer.concat(chunks).toString()
  if (exitCode === null) {
    throw new Error(`${describe(command)}: ended by ${child.signalCode} (limit ${timeoutMs} ms)\n${text}`)
  }
  return { exitCode, text }
}

/**
 * Runs a command that has to succeed.
 *
 * @throws {Error} with everything that it said.
 */
export async function runQuietly(command: Command, options: RunOptions): Promise<string> {
  const { exitCode, text } = await outputOf(command, options)
  if (exitCode !== 0) throw new Error(`${describe(command)}: exit code ${exitCode}\n${text}`)
  return text
}

/** Runs a command on our own terminal. @returns its exit code; 1 when a signal ended it. */
export async function runLoudly(command: Command): Promise<number> {
  const [file, ...args] = command
  const child = spawn(file, args, { stdio: 'inherit' })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve(code ?? 1))
  })
}

function describe(command: Command): string {
  return [basename(command[0]), ...command.slice(1)].join(' ')
}

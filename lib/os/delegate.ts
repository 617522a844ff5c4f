import { spawn, type ChildProcessByStdio } from 'node:child_process'
import { accessSync, constants, statSync } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import type { DelegateCall } from '../attach/edges.ts'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { parseJsonObject, type JsonObject } from '../cni/json.ts'
import { DeadlineExceeded, type Deadline } from '../time/deadline.ts'
import { isErrnoException } from './durable-file.ts'

/** The most that a plugin may print. */
const MAX_OUTPUT_BYTES = 1024 * 1024

/** How long an executable that is being written is waited for, and how long until the next try, in milliseconds. */
const BUSY_WAIT_MS = 5_000
const BUSY_PAUSE_MS = 50

/** What runDelegate needs of its surroundings. */
export interface DelegateOptions {
  /** The environment that we were started with: the delegate gets it whole, with its own CNI_COMMAND (SPEC 1.1.0, section 4). */
  readonly env: NodeJS.ProcessEnv
  readonly by: Deadline
}

/**
 * Runs another plugin and returns what it prints on standard output. Its standard error goes to ours (checklist O4).
 *
 * @throws {CniError} the plugin's own error, with its name before the message; code 7 when it is not in CNI_PATH; code 104
 *   when it fails without an error document.
 * @throws {DeadlineExceeded} after killing it.
 */
export async function runDelegate(call: DelegateCall, { env, by }: DelegateOptions): Promise<string> {
  by.throwIfPast(`running the plugin ${call.type}`)
  const child = await start(call, { env, by })
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const stop = (why: Error): void => {
    reject(why)
    child.kill('SIGKILL')
    // Nor is its end waited for: a process that hangs in the kernel would keep ours.
    child.unref()
    // A process that the plugin started may hold the pipes open: nobody waits for it.
    child.stdin.destroy()
    child.stdout.destroy()
  }
  const timer = setTimeout(() => stop(new DeadlineExceeded(`running the plugin ${call.type}`)), by.remainingMs())
  const chunks: Buffer[] = []
  let length = 0
  child.stdout.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    length += chunk.length
    if (length > MAX_OUTPUT_BYTES) stop(failed(call, `it printed more than ${MAX_OUTPUT_BYTES} bytes`))
  })
  child.on('error', cause => reject(failed(call, cause.message, cause)))
  child.on('close', (exitCode, signal) => {
    const stdout = Buffer.concat(chunks).toString()
    if (exitCode === 0) resolve(stdout)
    else reject(reported(call, stdout, signal ?? `exit code ${exitCode}`))
  })
  // A plugin that does not read its input closes the pipe: what it did then shows in its exit code.
  child.stdin.on('error', () => {})
  child.stdin.end(call.configuration)
  return promise.finally(() => clearTimeout(timer))
}

/**
 * Starts the plugin. An executable that somebody is still writing (ETXTBSY) is waited for a while, as libcni does: an
 * installer may be at work (checklist 1.11).
 */
async function start(
  call: DelegateCall,
  { env, by }: DelegateOptions,
): Promise<ChildProcessByStdio<Writable, Readable, null>> {
  const path = find(call)
  const until = by.capped(BUSY_WAIT_MS)
  for (;;) {
    try {
      return spawn(path, [], { env: { ...env, CNI_COMMAND: call.command }, stdio: ['pipe', 'pipe', 'inherit'] })
    } catch (cause) {
      if (!isErrnoException(cause)) throw cause
      if (cause.code !== 'ETXTBSY' || until.isPast()) throw failed(call, cause.message, cause)
    }
    await delay(BUSY_PAUSE_MS)
  }
}

function find({ type, cniPath }: DelegateCall): string {
  for (const folder of cniPath) {
    const path = join(folder, type)
    try {
      accessSync(path, constants.X_OK)
      // A folder that may be entered is "executable" too.
      if (statSync(path).isFile()) return path
    } catch {
      continue // the next folder may have it; when none has, the error below names them all
    }
  }
  throw new CniError(
    ErrorCode.invalidConfig,
    `IPAM plugin ${type} is in none of the folders of CNI_PATH: ${cniPath.join(':') || '(empty)'}`,
  )
}

function reported(call: DelegateCall, stdout: string, how: string): CniError {
  const document = errorDocument(stdout)
  const msg = document?.['msg']
  const code = document?.['code']
  const details = document?.['details']
  // The runtime reads the code as an unsigned number, and 0 as success.
  if (typeof msg !== 'string' || typeof code !== 'number' || !Number.isInteger(code) || code <= 0)
    return failed(call, `${call.command} ended with ${how}`)
  return new CniError(code, `${call.type}: ${msg}`, typeof details === 'string' ? { details } : {})
}

function errorDocument(stdout: string): JsonObject | undefined {
  try {
    return parseJsonObject(stdout)
  } catch (failure) {
    if (failure instanceof CniError) return undefined
    throw failure
  }
}

function failed({ type }: DelegateCall, why: string, cause?: unknown): CniError {
  return new CniError(ErrorCode.ipamFailed, `IPAM plugin ${type} failed: ${why}`, { cause })
}

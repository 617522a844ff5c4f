import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import type { DelegateCall } from '../attach/edges.ts'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { parseJsonObject, type JsonObject } from '../cni/json.ts'
import { DeadlineExceeded, type Deadline } from '../time/deadline.ts'

/** The most that a plugin may print. */
const MAX_OUTPUT_BYTES = 1024 * 1024

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
  const child = spawn(find(call), [], {
    env: { ...env, CNI_COMMAND: call.command },
    stdio: ['pipe', 'pipe', 'inherit'],
    timeout: by.remainingMs(),
    killSignal: 'SIGKILL',
  })
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const chunks: Buffer[] = []
  let length = 0
  child.stdout.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    length += chunk.length
    if (length > MAX_OUTPUT_BYTES) child.kill('SIGKILL')
  })
  child.on('error', cause => reject(failed(call, cause.message, cause)))
  child.on('close', (exitCode, signal) => {
    const stdout = Buffer.concat(chunks).toString()
    if (exitCode === 0) resolve(stdout)
    else if (by.isPast()) reject(new DeadlineExceeded(`running the plugin ${call.type}`))
    else reject(reported(call, stdout, signal ?? `exit code ${exitCode}`))
  })
  // A plugin that does not read its input closes the pipe: what it did then shows in its exit code.
  child.stdin.on('error', () => {})
  child.stdin.end(call.configuration)
  return promise
}

function find({ type, cniPath }: DelegateCall): string {
  for (const folder of cniPath) {
    const path = join(folder, type)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch {
      continue // the next folder may have it; when none has, the error below names them all
    }
  }
  throw new CniError(ErrorCode.invalidConfig, `IPAM plugin ${type} is in none of the folders of CNI_PATH: ${cniPath.join(':') || '(empty)'}`)
}

function reported(call: DelegateCall, stdout: string, how: string): CniError {
  const document = errorDocument(stdout)
  const msg = document?.['msg']
  const code = document?.['code']
  const details = document?.['details']
  if (typeof msg !== 'string' || typeof code !== 'number') return failed(call, `${call.command} ended with ${how}`)
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

import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { type Invocation, type Outcome, parsePrinted } from './outcome.ts'

/** A plugin that takes longer has hung. Two hundred at once on a busy machine may each need a minute. */
const HUNG_AFTER_MS = 180_000

/** More output than this from one run is a fault, not something to keep. */
const MAX_OUTPUT_BYTES = 8 * 1024 * 1024

export interface RunOptions {
  /** Path of the network namespace to run in. */
  readonly netnsPath: string
  /** Ends the plugin and its children with SIGKILL after this time. */
  readonly killAfterMs?: number
}

/**
 * Runs a plugin once, as a container runtime would.
 *
 * It gets a process group of its own, so that a kill meets its children too, as when a runtime's cgroup is killed.
 *
 * @throws {Error} when it cannot be started.
 */
export async function runPlugin(invocation: Invocation, options: RunOptions): Promise<Outcome> {
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  const child = start(invocation, options.netnsPath)
  const output = { stdout: [] as Buffer[], stderr: [] as Buffer[], bytes: 0 }
  const end = { isKilled: false, isTimedOut: false }

  function stop(how: 'isKilled' | 'isTimedOut'): void {
    end[how] = true
    // The whole group: the plugin may have started an IPAM plugin.
    if (child.pid !== undefined) killGroup(child.pid)
    child.stdout.destroy()
    child.stderr.destroy()
  }
  function keep(stream: 'stdout' | 'stderr', chunk: Buffer): void {
    output.bytes += chunk.length
    if (output.bytes <= MAX_OUTPUT_BYTES) output[stream].push(chunk)
    else stop('isTimedOut')
  }

  const isKill = options.killAfterMs !== undefined
  const timer = setTimeout(() => stop(isKill ? 'isKilled' : 'isTimedOut'), options.killAfterMs ?? HUNG_AFTER_MS)
  child.stdout.on('data', (chunk: Buffer) => keep('stdout', chunk))
  child.stderr.on('data', (chunk: Buffer) => keep('stderr', chunk))
  // A plugin may end without reading its input: EPIPE says nothing that its exit code does not.
  child.stdin?.on('error', error => void ('code' in error && error.code === 'EPIPE' ? undefined : reject(error)))
  child.stdin?.end(invocation.stdin)
  child.on('error', reject)
  // A daemon that the plugin left may hold the pipes open for ever: the exit counts, with a moment for what is still in them.
  child.on('exit', code => {
    clearTimeout(timer)
    setTimeout(() => resolve(code), DRAIN_MS).unref()
  })
  child.on('close', code => resolve(code))
  const exitCode = await promise.finally(() => clearTimeout(timer))
  child.stdout.destroy()
  child.stderr.destroy()
  const stdout = Buffer.concat(output.stdout).toString('utf8')
  const stderr = Buffer.concat(output.stderr).toString('utf8')
  return { ...invocation, exitCode, stdout, stderr, ...end, printed: parsePrinted(stdout) }
}

/** Starts a plugin in a namespace, with pipes for what it prints, and for its input where that is no file. */
function start({ executable, env, stdinPath }: Invocation, netnsPath: string): Child {
  const input = stdinPath === undefined ? undefined : openSync(stdinPath, 'r')
  try {
    const command = [`--net=${netnsPath}`, '--', executable]
    return spawn('/usr/bin/nsenter', command, {
      env,
      stdio: [input ?? 'pipe', 'pipe', 'pipe'],
      detached: true,
    }) as Child
  } finally {
    if (input !== undefined) closeSync(input)
  }
}

/** What `start` asks for: there is no input to write to where that is a file. */
type Child = ChildProcessByStdio<Writable | null, Readable, Readable>

/** Kills a process group; quiet when nobody is in it any more. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (cause) {
    if (!(cause instanceof Error && 'code' in cause && cause.code === 'ESRCH')) throw cause
  }
}

/** After this time output of a plugin that has ended is not waited for. */
const DRAIN_MS = 2_000

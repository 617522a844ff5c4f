import { writeSync } from 'node:fs'
import type { Outcome, Run } from '../attach/plugin-run.ts'
import type { Environment } from '../cni/invocation.ts'
import type { NativeAddon } from '../../native/addon.ts'
import type { TraceContext } from '../ipam/trace-context.ts'
import { Deadline } from '../time/deadline.ts'
import { isErrnoException } from './durable-file.ts'
import { readStdin } from './stdin.ts'

const STDIN = 0
const STDOUT = 1
const STDERR = 2

/** How long a full pipe is waited for, and how long until the next try, in milliseconds. */
const STDOUT_WAIT_MS = 5_000
const STDERR_WAIT_MS = 100
const FULL_PIPE_PAUSE_MS = 2

/** The run that this process was started for. */
export function runOfProcess(env: Environment, addon: NativeAddon): Run {
  return { env, readStdin: by => readStdin({ addon, fd: STDIN, by }) }
}

/** The log of a plugin: its name and a line, on standard error, where the runtime looks for it (checklist O4), and the trace that the run belongs to (E11). */
export function stderrLog(name: string, { traceparent }: TraceContext = {}): (line: string) => void {
  const trace = traceparent === undefined ? '' : ` traceparent=${traceparent}`
  return line => writeLog(`${name}: ${line}${trace}\n`)
}

/** Prints what a run came to: at once, not through a stream, so that it is out before the process ends (checklist O8). */
export function printOutcome({ stdout, stderr }: Outcome): void {
  writeLog(stderr)
  writeAll(STDOUT, stdout, Deadline.in(STDOUT_WAIT_MS))
}

/** A log that nobody takes (EPIPE), or not now, is no reason for a verb to fail half-way: the line is lost. */
function writeLog(text: string): void {
  try {
    writeAll(STDERR, text, Deadline.in(STDERR_WAIT_MS))
  } catch (failure) {
    if (!isErrnoException(failure)) throw failure
  }
}

/** Writes all of `text`, also to a pipe that is in non-blocking mode: that is its reader's choice, and it may be full. */
function writeAll(fd: number, text: string, by: Deadline): void {
  const bytes = Buffer.from(text)
  for (let written = 0; written < bytes.length;) {
    try {
      written += writeSync(fd, bytes, written)
    } catch (failure) {
      if (!isErrnoException(failure) || failure.code !== 'EAGAIN' || by.isPast()) throw failure
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, FULL_PIPE_PAUSE_MS)
    }
  }
}

import { writeSync } from 'node:fs'
import type { Outcome, Run } from '../attach/plugin-run.ts'
import type { Environment } from '../cni/invocation.ts'
import type { NativeAddon } from '../../native/addon.ts'
import { readStdin } from './stdin.ts'

const STDIN = 0
const STDOUT = 1
const STDERR = 2

/** The run that this process was started for. */
export function runOfProcess(env: Environment, addon: NativeAddon): Run {
  return { env, readStdin: by => readStdin({ addon, fd: STDIN, by }) }
}

/** The log of a plugin: its name and a line, on standard error, where the runtime looks for it (checklist O4). */
export function stderrLog(name: string): (line: string) => void {
  return line => writeAll(STDERR, `${name}: ${line}\n`)
}

/** Prints what a run came to: at once, not through a stream, so that it is out before the process ends (checklist O8). */
export function printOutcome({ stdout, stderr }: Outcome): void {
  writeAll(STDERR, stderr)
  writeAll(STDOUT, stdout)
}

function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written)
}

import { writeSync } from 'node:fs'
import process from 'node:process'
import { handle } from '../../lib/attach/handle.ts'
import { readStdin } from '../../lib/os/stdin.ts'
import { loadAddon } from '../../native/addon.ts'
import { executableEdges } from './edges.ts'

const STDIN = 0
const STDOUT = 1
const STDERR = 2

/** The CNI plugin: one run, from the environment and standard input to one document and an exit code. */
export async function main({ addonPath }: { readonly addonPath: string }): Promise<void> {
  const addon = loadAddon(addonPath)
  const log = (line: string): void => void writeSync(STDERR, `tulle: ${line}\n`)
  const outcome = await handle(
    { env: process.env, readStdin: by => readStdin({ addon, fd: STDIN, by }) },
    executableEdges({ env: process.env, addon, log }),
  )
  // Written at once, not through a stream: the document is out before the process ends (checklist O8).
  if (outcome.stderr !== '') writeSync(STDERR, outcome.stderr)
  if (outcome.stdout !== '') writeSync(STDOUT, outcome.stdout)
  process.exitCode = outcome.exitCode
}

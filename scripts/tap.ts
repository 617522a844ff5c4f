import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT } from './paths.ts'
import { runLoudly } from './run-command.ts'
import { parseFailures, parseSkips, parseTotals, renderFailures, renderSkip } from './tap-report.ts'
import type { Totals } from './tap-report.ts'

/**
 * Runs tap on `files`, names what was skipped and what failed, and counts.
 *
 * @param options for tap, for example `--bail`.
 * @param within a command that runs another one in a place of its own, for example `nsenter` with its options.
 * @returns totals with at least one failure when tap says that something failed. A skip without excuse is a failure.
 */
export async function runTap(
  files: readonly string[],
  options: readonly string[] = [],
  within: readonly string[] = [],
): Promise<Totals> {
  const folder = await mkdtemp(join(tmpdir(), 'tulle-tap-'))
  try {
    const output = join(folder, 'all.tap')
    const tap = join(ROOT, 'node_modules', '.bin', 'tap')
    // The reporter that shows progress rewrites lines, which makes a mess of a log: a log gets the failures.
    const reporter = process.stdout.isTTY ? 'base' : 'min'
    process.stderr.write(`tap: ${files.length} files\n`)
    const fixed = ['run', '--jobs=2', `--reporter=${reporter}`, `--output-file=${output}`]
    const [file = process.execPath, ...args] = [...within, process.execPath, tap, ...fixed, ...options, ...files]
    const exitCode = await runLoudly([file, ...args])
    // The reporter ends with a control sequence and no line end; what counts the tests has a line of its own.
    process.stdout.write('\n')
    return totalsOf(await readFile(output, 'utf8'), exitCode)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function totalsOf(tap: string, exitCode: number): Totals {
  const skips = parseSkips(tap)
  for (const skip of skips) process.stderr.write(`${renderSkip(skip)}\n`)
  // Once more in one place: what the reporter says of them may be thousands of lines above.
  for (const line of renderFailures(parseFailures(tap))) process.stderr.write(`${line}\n`)
  const totals = parseTotals(tap)
  const failed = totals.failed + skips.filter(skip => !skip.isExcused).length
  // No test found, a crash of tap itself: a failure that no assertion stands for.
  return { ...totals, failed: exitCode === 0 ? failed : Math.max(failed, 1) }
}

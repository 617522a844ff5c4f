import { relative, resolve } from 'node:path'
import { buildAll } from './build.ts'
import { lint } from './lint.ts'
import { ROOT } from './paths.ts'
import { outputOf } from './run-command.ts'
import { ourFiles } from './source-files.ts'
import { runTap } from './tap.ts'
import { renderTotals } from './tap-report.ts'
import type { Totals } from './tap-report.ts'

const UNIT = '**/*.test.ts'
const NETNS = '{conformance,e2e/netns}/**/*.netns.ts'
const NOTHING: Totals = { passed: 0, failed: 0, skipped: 0 }

/**
 * `npm test [-- file or folder or option of tap ...]`: builds, lints, and runs the tests that need no cluster.
 *
 * With a file or folder it runs what is there, and does not lint. What lint or the type check finds counts as a failure, and so
 * does a tier that is left out: a machine that cannot run the tests in namespaces says so.
 */
async function test(args: readonly string[]): Promise<Totals> {
  const options = args.filter(arg => arg.startsWith('-'))
  const places = args.filter(arg => !arg.startsWith('-'))
  const failures = [named('build', await buildAll()), named('lint', places.length === 0 ? await lint() : '')]
  const files = ourFiles(UNIT, NETNS).filter(file => places.length === 0 || places.some(place => isIn(file, place)))
  if (files.length === 0) failures.push(`FAILED no test in ${places.join(' ')}\n`)

  const inNamespaces = files.filter(file => file.endsWith('.netns.ts'))
  const obstacle = inNamespaces.length > 0 ? await whyNoNamespaces() : undefined
  const runnable = obstacle === undefined ? files : files.filter(file => !inNamespaces.includes(file))
  if (obstacle !== undefined)
    failures.push(`SKIPPED ${inNamespaces.length} files of tests in namespaces: ${obstacle}\n`)

  const totals = runnable.length === 0 ? NOTHING : await runTap(runnable, options)
  // Last, where they are seen.
  for (const failure of failures) process.stderr.write(failure)
  return { ...totals, failed: totals.failed + failures.filter(failure => failure !== '').length }
}

/** What a step found wrong, under a line that .ci/run finds; nothing when it found nothing. */
function named(step: string, found: string): string {
  return found === '' ? '' : `FAILED ${step}\n${found}`
}

/** True when `place`, a path as the caller typed it, is `file` or a folder above it. */
function isIn(file: string, place: string): boolean {
  const path = relative(ROOT, resolve(place))
  return path === '' || file === path || file.startsWith(`${path}/`)
}

/** Why the tests in namespaces cannot run here; undefined when they can. */
async function whyNoNamespaces(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'they need root: run them as root'
  const { exitCode, text } = await outputOf(['unshare', '--net', '--mount', 'true'], { timeoutMs: 10_000 })
  return exitCode === 0 ? undefined : `this machine gives no namespaces: ${text.trim()}`
}

const totals = await test(process.argv.slice(2))
process.stdout.write(`${renderTotals(totals)}\n`)
process.exitCode = totals.failed === 0 ? 0 : 1

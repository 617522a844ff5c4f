import { mkdir, readFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { renderFigure } from '../e2e/suite/harness/figures.ts'
import type { Figure } from '../e2e/suite/harness/figures.ts'
import { CLUSTER_VARIABLE, FIGURES_VARIABLE, NETWORK_VARIABLE } from '../e2e/suite/harness/variables.ts'
import { runTap } from './tap.ts'
import type { Totals } from './tap-report.ts'

/** One file may wait for a hundred pods or for nodes that come back, on a machine with other work too. */
const FILE_TIMEOUT_SECONDS = 900

/** A cluster that is up, and what the suite is to do with it. */
export interface SuiteRun {
  readonly files: readonly string[]
  /** Where the cluster is described for the suite. */
  readonly descriptionFile: string
  readonly network: 'tulle' | 'reference'
  /** What the tests measure is kept there, one JSON document on each line; what an earlier run left goes. */
  readonly figuresFile: string
  /** A command that runs another one on the host outside of the cluster; none when this process is that host. */
  readonly within?: readonly string[]
}

export interface SuiteOutcome {
  readonly totals: Totals
  /** What was measured, a sentence each. */
  readonly figures: readonly string[]
}

/** Runs files of the suite, one after the other, and says at the end what they have measured. */
export async function runSuite({
  files,
  descriptionFile,
  network,
  figuresFile,
  within = [],
}: SuiteRun): Promise<SuiteOutcome> {
  process.env[CLUSTER_VARIABLE] = descriptionFile
  process.env[NETWORK_VARIABLE] = network
  process.env[FIGURES_VARIABLE] = figuresFile
  await mkdir(dirname(figuresFile), { recursive: true })
  await rm(figuresFile, { force: true })
  const totals = await runTap(files, ['--jobs=1', `--timeout=${FILE_TIMEOUT_SECONDS}`], within)
  const figures = (await readFigures(figuresFile)).map(renderFigure)
  for (const figure of figures) process.stdout.write(`measured: ${figure}\n`)
  return { totals, figures }
}

/** @param file one JSON document on each line; missing when nothing was measured. */
async function readFigures(file: string): Promise<readonly Figure[]> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return ''
    throw cause
  })
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Figure)
}

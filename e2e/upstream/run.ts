import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from '../parts/command.ts'
import { goTool } from '../parts/go.ts'
import { kubernetesTests } from '../parts/kubernetes.ts'
import { parseReport } from './report.ts'
import type { SpecResult } from './report.ts'

/** Runs specs in several processes at once; the version with which e2e.test is compiled. */
const GINKGO = { packagePath: 'github.com/onsi/ginkgo/v2/ginkgo', version: 'v2.28.1' }

const FOCUS = /\[sig-network\].*(\[Conformance\]|\[Feature:IPv6DualStack\])/
/** No kernel module, no SCTP. */
const SKIP = /SCTP|sctp/
const PROCESSES = 4
const LIMIT = '40m'

export interface UpstreamOptions {
  readonly kubeconfigFile: string
  readonly nodes: number
  /** How a command is run where the cluster is seen, with kubectl in its PATH. @returns its exit code. */
  readonly run: (command: Command) => Promise<number>
}

/**
 * Runs upstream's specs of the network against a cluster.
 *
 * @returns every spec that was to run. One that did not pass is told by its state, not thrown.
 * @throws {Error} when none ran.
 */
export async function runUpstream({ kubeconfigFile, nodes, run }: UpstreamOptions): Promise<readonly SpecResult[]> {
  const ginkgo = await goTool(GINKGO)
  const tests = await kubernetesTests()
  const folder = await mkdtemp(join(tmpdir(), 'tulle-upstream-'))
  try {
    const report = join(folder, 'report.json')
    const exitCode = await run([
      ginkgo,
      'run',
      `--procs=${PROCESSES}`,
      `--timeout=${LIMIT}`,
      `--focus=${FOCUS.source}`,
      `--skip=${SKIP.source}`,
      `--json-report=${report}`,
      '--no-color',
      '--silence-skips',
      '--keep-going',
      tests,
      '--',
      '--provider=skeleton',
      `--kubeconfig=${kubeconfigFile}`,
      `--num-nodes=${nodes}`,
    ])
    const results = parseReport(await readFile(report, 'utf8'), name => FOCUS.test(name) && !SKIP.test(name))
    if (results.length === 0) throw new Error(`ginkgo ended with ${exitCode} and ran nothing`)
    return results
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

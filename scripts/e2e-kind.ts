// `npm run e2e:kind`: see e2eKind().
import '../e2e/netns/harness/isolated.ts'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { release } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { testImage } from '../e2e/cluster/images.ts'
import { createKindCluster } from '../e2e/kind/create-cluster.ts'
import { startDocker } from '../e2e/kind/docker.ts'
import type { PrivateDocker } from '../e2e/kind/docker.ts'
import type { KindCluster } from '../e2e/kind/kind-cluster.ts'
import { KIND_VERSION } from '../e2e/kind/kind-parts.ts'
import { keepMachineSettings } from '../e2e/kind/machine-settings.ts'
import { renderKindRecord } from '../e2e/kind/record.ts'
import { whyNoKind } from '../e2e/kind/requirements.ts'
import { writeTulleImage } from './image.ts'
import { ROOT } from './paths.ts'
import { ourFiles } from './source-files.ts'
import { runSuite } from './suite.ts'
import { renderTotals } from './tap-report.ts'
import type { Totals } from './tap-report.ts'

const READY_SECONDS = 180
/** Not /tmp, which may be a file system in memory: a node image has a gigabyte. */
const SCRATCH = '/var/tmp'
const RECORD = join(ROOT, 'docs', 'kind.md')
/** What the last run has measured, and the logs of its nodes when something failed. */
const FIGURES = join(ROOT, '.cache', 'e2e', 'figures-kind.jsonl')
const LOGS = join(ROOT, '.cache', 'e2e', 'logs-kind')

interface Choices {
  readonly files: readonly string[]
  /** Whether docs/kind.md is written. */
  readonly isRecorded: boolean
}

/**
 * `npm run e2e:kind [-- --record] [files]`: makes a cluster with the real kind and the repository's kind-config.yaml, installs Tulle as
 * users do (an image on the nodes, kubectl apply), runs the suite, and takes all of it away. Docker runs in the namespaces of this
 * process.
 */
async function e2eKind({ files, isRecorded }: Choices): Promise<Totals> {
  const reason = await whyNoKind()
  if (reason !== undefined) {
    process.stderr.write(`SKIPPED e2e/suite in kind: ${reason}\n`)
    return { passed: 0, failed: 0, skipped: 1 }
  }
  const startedAtMs = performance.now()
  const progress = (line: string) =>
    process.stderr.write(`e2e:kind: ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s: ${line}\n`)
  execFileSync('ip', ['link', 'set', 'lo', 'up'])
  const folder = await mkdtemp(join(SCRATCH, 'tulle-kind-'))
  try {
    await using _settings = await keepMachineSettings()
    await using docker = await startDocker(join(folder, 'docker'))
    progress('dockerd answers')
    const clusterFolder = join(folder, 'cluster')
    const { cluster, ...created } = await createKindCluster(docker, clusterFolder)
    process.stderr.write(created.said)
    progress('kind has made the cluster')
    const totals = await withLogsOfFailures(cluster, async () => {
      await install(cluster, folder)
      progress('all nodes are Ready')
      const installed = await cluster.kubectl(['get', 'nodes,pods', '--all-namespaces', '--output=wide'])
      process.stderr.write(installed)
      const descriptionFile = join(folder, 'cluster.json')
      await writeFile(descriptionFile, JSON.stringify(cluster.description))
      const outcome = await runSuite({ files, descriptionFile, network: 'tulle', figuresFile: FIGURES })
      if (isRecorded) {
        const suite = { files, figures: outcome.figures, totals: renderTotals(outcome.totals) }
        const facts = { date: new Date().toISOString().slice(0, 10), versions: await versionsOf(cluster, docker) }
        await writeFile(RECORD, renderKindRecord({ ...facts, created, installed, suite, folder: clusterFolder }))
      }
      return outcome.totals
    })
    return totals
  } finally {
    // Docker's mounts go a moment after Docker.
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 500 })
    progress('the cluster is gone')
  }
}

/** Keeps the logs of all nodes when `body` throws or counts a failure: they go with the cluster. */
async function withLogsOfFailures(cluster: KindCluster, body: () => Promise<Totals>): Promise<Totals> {
  let isPassed = false
  await rm(LOGS, { recursive: true, force: true })
  try {
    const totals = await body()
    isPassed = totals.failed === 0
    return totals
  } finally {
    if (!isPassed) await cluster.exportLogs(LOGS)
  }
}

async function install(cluster: KindCluster, folder: string): Promise<void> {
  const images = join(folder, 'images')
  await mkdir(images)
  await cluster.loadImage(await testImage())
  await cluster.loadImage(await writeTulleImage(join(images, 'tulle.tar')))
  await cluster.kubectl(['apply', '--filename', join(ROOT, 'deploy', 'tulle.yaml')])
  const timeoutMs = READY_SECONDS * 1000 + 10_000
  const timeout = `--timeout=${READY_SECONDS}s`
  await cluster.kubectl(['wait', '--for=condition=Ready', 'nodes', '--all', timeout], timeoutMs)
  await cluster.kubectl(['-n', 'kube-system', 'rollout', 'status', 'daemonset/tulle', timeout], timeoutMs)
  await cluster.kubectl(['-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', timeout], timeoutMs)
}

async function versionsOf(
  cluster: KindCluster,
  docker: PrivateDocker,
): Promise<readonly (readonly [string, string])[]> {
  const said = await cluster.kubectl(['get', 'nodes', '--output=jsonpath={.items[0].status.nodeInfo}'])
  const info = JSON.parse(said) as { readonly kubeletVersion: string; readonly containerRuntimeVersion: string }
  return [
    ['kind', KIND_VERSION],
    ['Docker', (await docker.docker(['version', '--format', '{{.Server.Version}}'])).trim()],
    ['Kubernetes', info.kubeletVersion],
    ['runtime', info.containerRuntimeVersion],
    ['machine', `Linux ${release()}`],
  ]
}

function choicesOf(args: readonly string[]): Choices {
  const options = { record: { type: 'boolean', default: false } } as const
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options })
  const files = positionals.length > 0 ? positionals : ourFiles('e2e/suite/**/*.e2e.ts')
  return { files, isRecorded: values.record }
}

const totals = await e2eKind(choicesOf(process.argv.slice(2)))
process.stdout.write(`${renderTotals(totals)}\n`)
process.exitCode = totals.failed === 0 ? 0 : 1

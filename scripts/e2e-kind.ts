// `npm run e2e:kind`: see e2eKind().
import '../e2e/netns/harness/isolated.ts'
import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { testImage } from '../e2e/cluster/images.ts'
import { startDocker } from '../e2e/kind/docker.ts'
import { createKindCluster } from '../e2e/kind/kind-cluster.ts'
import { keepMachineSettings } from '../e2e/kind/machine-settings.ts'
import type { KindCluster } from '../e2e/kind/kind-cluster.ts'
import { whyNoKind } from '../e2e/kind/requirements.ts'
import { CLUSTER_VARIABLE, NETWORK_VARIABLE } from '../e2e/suite/harness/variables.ts'
import { writeTulleImage } from './image.ts'
import { ROOT } from './paths.ts'
import { ourFiles } from './source-files.ts'
import { runTap } from './tap.ts'
import { renderTotals } from './tap-report.ts'
import type { Totals } from './tap-report.ts'

const READY_SECONDS = 180
const FILE_TIMEOUT_SECONDS = 600
/** Not /tmp, which may be a file system in memory: a node image has a gigabyte. */
const SCRATCH = '/var/tmp'

/**
 * Makes a cluster with the real kind and the repository's kind-config.yaml, installs Tulle as users do (an image on the nodes,
 * kubectl apply), runs the suite, and takes all of it away. Docker runs in the namespaces of this process.
 */
async function e2eKind(files: readonly string[]): Promise<Totals> {
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
    const cluster = await createKindCluster(docker, {
      folder: join(folder, 'cluster'),
      report: text => void process.stderr.write(text),
    })
    progress('kind has made the cluster')
    await install(cluster, folder)
    progress('all nodes are Ready')
    process.stderr.write(await cluster.kubectl(['get', 'nodes,pods', '--all-namespaces', '--output=wide']))
    const description = join(folder, 'cluster.json')
    await writeFile(description, JSON.stringify(cluster.description))
    process.env[CLUSTER_VARIABLE] = description
    process.env[NETWORK_VARIABLE] = 'tulle'
    return await runTap(files, ['--jobs=1', `--timeout=${FILE_TIMEOUT_SECONDS}`])
  } finally {
    await rm(folder, { recursive: true, force: true })
    progress('the cluster is gone')
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

const args = process.argv.slice(2)
const totals = await e2eKind(args.length > 0 ? args : ourFiles('e2e/suite/**/*.e2e.ts'))
process.stdout.write(`${renderTotals(totals)}\n`)
process.exitCode = totals.failed === 0 ? 0 : 1

// `npm run e2e:conformance`: see conformance().
import { writeFile } from 'node:fs/promises'
import { cpus, release } from 'node:os'
import { join } from 'node:path'
import type { Cluster } from '../e2e/cluster/namespaces/cluster.ts'
import { NamespaceProvider } from '../e2e/cluster/namespaces/provider.ts'
import { whyNoCluster } from '../e2e/cluster/requirements.ts'
import { until } from '../e2e/cluster/until.ts'
import { up } from '../e2e/cluster/up.ts'
import { renderReport } from '../e2e/upstream/report.ts'
import { runUpstream } from '../e2e/upstream/run.ts'
import { keepLogs } from './cluster-logs.ts'
import { writeTulleImage } from './image.ts'
import { ROOT } from './paths.ts'
import { runLoudly } from './run-command.ts'
import { renderTotals } from './tap-report.ts'
import type { Totals } from './tap-report.ts'

const COMMAND = 'npm run e2e:conformance'
const REPORT = join(ROOT, 'docs', 'conformance-kubernetes.md')
const TULLE_IMAGE = join(ROOT, 'dist', 'tulle-image.tar')
const NODES = 3
const CLEAN_MS = 180_000

/** Upstream's own specs of the network against Tulle, on a cluster of real Kubernetes in namespaces; the report goes into docs. */
async function conformance(): Promise<Totals> {
  const reason = await whyNoCluster()
  if (reason !== undefined) {
    process.stderr.write(`SKIPPED e2e:conformance: ${reason}\n`)
    return { passed: 0, failed: 0, skipped: 1 }
  }
  const startedAtMs = performance.now()
  const progress = (line: string) =>
    process.stderr.write(`e2e:conformance: ${((performance.now() - startedAtMs) / 1000).toFixed(1)} s: ${line}\n`)
  const imageArchives = [await writeTulleImage(TULLE_IMAGE)]
  const cluster = await up({ network: 'tulle', proxyMode: 'nftables', nodes: NODES, imageArchives, progress })
  try {
    const versions = await versionsOf(cluster)
    const runAtMs = performance.now()
    const results = await runUpstream({
      kubeconfigFile: cluster.kubeconfigFile,
      nodes: NODES,
      run: async command => runLoudly(cluster.outsideCommand(command)),
    })
    const minutes = (performance.now() - runAtMs) / 60_000
    await nothingIsLeaked(cluster)
    const date = new Date().toISOString().slice(0, 10)
    await writeFile(REPORT, renderReport(results, { date, command: COMMAND, versions, minutes }))
    const failed = results.filter(({ state }) => state !== 'passed')
    for (const { name, state, failure = '' } of failed) process.stderr.write(`FAILED ${name}: ${state}: ${failure}\n`)
    return { passed: results.length - failed.length, failed: failed.length, skipped: 0 }
  } finally {
    await keepLogs(cluster)
    await cluster.stop()
    progress('the cluster is down')
  }
}

async function versionsOf(cluster: Cluster): Promise<readonly (readonly [string, string])[]> {
  const said = await cluster.kubectl(['get', 'nodes', '--output=jsonpath={.items[0].status.nodeInfo}'])
  const info = JSON.parse(said) as { readonly kubeletVersion: string; readonly containerRuntimeVersion: string }
  return [
    ['Kubernetes and e2e.test', info.kubeletVersion],
    ['runtime', info.containerRuntimeVersion],
    ['kube-proxy', cluster.description.proxyMode],
    ['machine', `Linux ${release()}, ${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`],
  ]
}

/** Every pod of the specs is gone, and what it had with it. */
async function nothingIsLeaked(cluster: Cluster): Promise<void> {
  const provider = await NamespaceProvider.attach(cluster.descriptionFile)
  for (const { name } of await provider.nodes()) {
    const check = ['/opt/cni/bin/tullectl', 'check'] as const
    await until(`tullectl check to find nothing on ${name}`, async () => provider.exec(name, check), CLEAN_MS)
  }
}

const totals = await conformance()
process.stdout.write(`${renderTotals(totals)}\n`)
process.exitCode = totals.failed === 0 ? 0 : 1

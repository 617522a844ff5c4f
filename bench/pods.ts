/**
 * Measures how long a pod takes from its creation until it is Ready, on two clusters that differ in their network: Tulle, and the
 * chain of reference plugins (bridge, host-local, portmap). `npm run bench:pods`. Both are up at the same time, real Kubernetes
 * with one node each, and take turns. Raw samples go to bench/results/pods.json, the table to docs/performance.md; `--render` makes
 * the table again.
 */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { up, type NetworkChoice } from '../e2e/cluster/up.ts'
import { describeMachine } from './machine.ts'
import type { PodAnswer, PodRequest } from './pods/client.ts'
import { podsSection, type PodSample, type PodsRun } from './report/pods-section.ts'
import { writeSection } from './write-section.ts'

const RESULT = join(import.meta.dirname, 'results', 'pods.json')
/** Made by the step before, as users make it. */
const TULLE_IMAGE = join(import.meta.dirname, '..', 'dist', 'tulle-image.tar')
const CLIENT = join(import.meta.dirname, 'pods', 'client.ts')
const NETWORKS: readonly NetworkChoice[] = ['tulle', 'reference']
const NAMESPACE = 'bench'
/** The first pods of a cluster pay for what is loaded once. */
const WARM_UP = 3
const HOST_PORT = 20_080

const { values } = parseArgs({
  options: { pods: { type: 'string', default: '100' }, render: { type: 'boolean', default: false } },
})
if (!values.render) await measure(Number(values.pods))
const section = podsSection(JSON.parse(readFileSync(RESULT, 'utf8')) as PodsRun)
process.stdout.write(`${section}\n`)
writeSection('npm run bench:pods', section)

/** A cluster under measurement. */
interface Contender extends AsyncDisposable {
  readonly network: NetworkChoice
  readonly time: (request: PodRequest) => Promise<number>
}

async function measure(pods: number): Promise<void> {
  const startedAt = new Date().toISOString()
  const loadAtStart = loadavg()[0] ?? 0
  const samples: PodSample[] = []
  await using undo = new AsyncDisposableStack()
  const contenders: Contender[] = []
  for (const network of NETWORKS) contenders.push(undo.use(await start(network)))
  for (let index = -WARM_UP; index < pods; index++) {
    for (const hasHostPort of [false, true]) {
      // Who comes first changes.
      for (const { network, time } of index % 2 === 0 ? contenders : contenders.toReversed()) {
        const name = `pod-${index + WARM_UP}-${hasHostPort ? 'port' : 'plain'}`
        const readyMs = await time({ name, ...(hasHostPort ? { hostPort: HOST_PORT } : {}) })
        if (index >= 0) samples.push({ network, hasHostPort, readyMs })
      }
    }
    process.stderr.write(`bench: ${index + 1} of ${pods} pods\n`)
  }
  const endedAt = new Date().toISOString()
  const run: PodsRun = {
    startedAt,
    endedAt,
    machine: describeMachine(),
    loadAtStart,
    loadAtEnd: loadavg()[0] ?? 0,
    samples,
  }
  writeFileSync(RESULT, `${JSON.stringify(run, undefined, 1)}\n`)
}

async function start(network: NetworkChoice): Promise<Contender> {
  await using undo = new AsyncDisposableStack()
  const cluster = await up({
    network,
    proxyMode: 'nftables',
    nodes: 1,
    imageArchives: network === 'tulle' ? [TULLE_IMAGE] : [],
    progress: line => process.stderr.write(`bench: ${network}: ${line}\n`),
  })
  undo.defer(async () => await cluster.stop())
  await cluster.kubectl(['create', 'namespace', NAMESPACE])
  const { outsidePid, stateFolder } = cluster.description
  const command = [process.execPath, CLIENT, join(stateFolder, 'admin.kubeconfig'), NAMESPACE]
  const client = spawn('nsenter', [`--net=/proc/${outsidePid}/ns/net`, '--', ...command], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  undo.defer(() => void client.stdin.end())
  const answers = createInterface({ input: client.stdout })[Symbol.asyncIterator]()
  const time = async (request: PodRequest): Promise<number> => {
    client.stdin.write(`${JSON.stringify(request)}\n`)
    const { done, value } = await answers.next()
    if (done === true) throw new Error(`${network}: no answer for ${request.name}: its client has ended`)
    return (JSON.parse(value) as PodAnswer).readyMs
  }
  const kept = undo.move()
  return { network, time, [Symbol.asyncDispose]: async () => await kept.disposeAsync() }
}

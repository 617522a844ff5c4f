/**
 * Measures TCP between pods of two nodes, direct and in VXLAN, beside the same network made by hand with ip(8):
 * `npm run bench:cross-node`. Nodes are namespaces, each with a real ipamd and a real agent; their network is a bridge. The four
 * take turns. What each path costs the processor is measured besides, which other work on the machine hardly changes. Raw samples go to bench/results/cross-node.json, the table to docs/performance.md; `--render` makes the table again.
 */
import '../e2e/netns/harness/isolated.ts'
import { readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { Cluster, type NodePlan } from '../e2e/netns/harness/cluster.ts'
import { until } from '../e2e/netns/harness/until.ts'
import { ping } from '../e2e/netns/harness/reach.ts'
import { measureTraffic, unpackIperf3 } from './attach/traffic.ts'
import { makeByHand, type Mode, type PodPair } from './cross-node/hand-made.ts'
import { measurePathCosts } from './cross-node/path-cost.ts'
import { describeMachine } from './machine.ts'
import { nativeTool } from './native-tools.ts'
import { crossNodeSection, type CrossNodeRun, type CrossNodeSample } from './report/cross-node-section.ts'
import { writeSection } from './write-section.ts'

const RESULT = join(import.meta.dirname, 'results', 'cross-node.json')
/** Each has a network between nodes to itself. */
const MODES = ['direct', 'vxlan'] as const

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '3' },
    render: { type: 'boolean', default: false },
  },
})
if (!values.render) await measure(Number(values.rounds), Number(values.seconds))
const section = crossNodeSection(JSON.parse(readFileSync(RESULT, 'utf8')) as CrossNodeRun)
process.stdout.write(`${section}\n`)
writeSection('npm run bench:cross-node', section)

async function measure(rounds: number, seconds: number): Promise<void> {
  const startedAt = new Date().toISOString()
  const loadAtStart = loadavg()[0] ?? 0
  const tools = { iperf3: await unpackIperf3(), roundTrips: await nativeTool('round-trips') }
  const samples: CrossNodeSample[] = []
  await using undo = new AsyncDisposableStack()
  const ways: { readonly mode: Mode; readonly by: CrossNodeSample['by']; readonly pair: PodPair }[] = []
  for (const [network, mode] of MODES.entries()) {
    ways.push({ mode, by: 'tulle', pair: undo.use(await makeByTulle(mode, network)) })
    ways.push({ mode, by: 'hand', pair: undo.use(await makeByHand(mode, network)) })
  }
  for (const { pair, mode, by } of ways)
    await until(
      `pods reach each other: ${mode}, ${by}`,
      async () => (await ping(pair.from, pair.address)) !== undefined,
    )
  const costs = await measurePathCosts(ways.map(({ pair }) => pair))
  for (let round = 0; round < rounds; round++) {
    // Who comes first changes: the second of a pair finds warmer caches.
    const first = round % ways.length
    for (const { mode, by, pair } of [...ways.slice(first), ...ways.slice(0, first)]) {
      const { from, to, address } = pair
      samples.push({ mode, by, ...(await measureTraffic({ from, to, address, seconds, ...tools })) })
      process.stderr.write(`bench: ${JSON.stringify(samples.at(-1))}\n`)
    }
  }
  const run: CrossNodeRun = {
    startedAt,
    endedAt: new Date().toISOString(),
    machine: describeMachine(),
    loadAtStart,
    loadAtEnd: loadavg()[0] ?? 0,
    seconds,
    samples,
    costs: ways.flatMap(({ mode, by }, index) => {
      const cost = costs[index]
      return cost === undefined ? [] : [{ mode, by, ...cost }]
    }),
  }
  writeFileSync(RESULT, `${JSON.stringify(run, undefined, 1)}\n`)
}

async function makeByTulle(mode: Mode, network: number): Promise<PodPair> {
  await using undo = new AsyncDisposableStack()
  const cluster = undo.use(await Cluster.start({ agent: { routing: { mode } } }))
  const plans = [1, 2].map((host): NodePlan => ({
    name: `${mode}${host}`,
    network,
    host,
    podCidrs: [`10.${244 + network}.${host}.0/24`],
  }))
  for (const plan of plans) await cluster.add(plan)
  const pods = []
  for (const { name } of plans) {
    const node = cluster.nodes.get(name)
    if (node === undefined) throw new Error(`no node ${name}`)
    await node.untilReady()
    pods.push(await node.attach())
  }
  const [from, to] = pods
  if (from === undefined || to === undefined) throw new Error('want two pods')
  const kept = undo.move()
  return {
    from: from.netns,
    to: to.netns,
    address: to.ipv4,
    [Symbol.asyncDispose]: async () => await kept.disposeAsync(),
  }
}

import '../e2e/netns/harness/isolated.ts'
import { readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { nodeObject, type KubeObject } from '../e2e/kube/api-server.ts'
import { Cluster, type NodePlan } from '../e2e/netns/harness/cluster.ts'
import { until } from '../e2e/netns/harness/until.ts'

/*
 * How long an agent takes from its start until it has every route of a large cluster, what it costs then, and how soon a new
 * node gets its route. The API server is the one of the tests, in this process; Node objects are of a usual size.
 */

/** Arguments after the first name the sizes. */
const SIZES = process.argv.length > 3 ? process.argv.slice(3).map(Number) : [1000, 5000]
const MODES = ['direct', 'vxlan'] as const
/** The first argument says how often each is measured. */
const RUNS = Number(process.argv[2] ?? 3)
const REST_MS = 20_000
/** As many and as long as a usual node's list of images. */
const IMAGES = Array.from({ length: 40 }, (_, index) => ({
  names: [`registry.example/library/image-${index}@sha256:${'0'.repeat(64)}`],
  sizeBytes: 1_000_000 + index,
}))
const SELF: NodePlan = { name: 'self', network: 0, host: 1, podCidrs: ['10.0.0.0/24', 'fd00::/64'] }

interface Run {
  readonly mode: string
  readonly nodes: number
  /** From the start of the process until the kernel has every route of both families. */
  readonly allRoutesMs: number
  readonly rssMiB: number
  readonly peakRssMiB: number
  /** CPU time of the process until then. */
  readonly cpuMs: number
  readonly restCpuPercent: number
  /** From a new Node object to its route. */
  readonly oneMoreMs: number
}

const runs: Run[] = []
for (const nodes of SIZES) {
  for (const mode of MODES) for (let run = 0; run < RUNS; run++) runs.push(await measure(mode, nodes))
}
const machine = {
  cpu: cpus()[0]?.model ?? '',
  cores: cpus().length,
  kernel: readFileSync('/proc/version', 'utf8').trim(),
}
const folder = join(import.meta.dirname, 'results')
await mkdir(folder, { recursive: true })
await writeFile(
  join(folder, 'agent.json'),
  `${JSON.stringify({ at: new Date().toISOString(), machine, runs }, null, 2)}\n`,
)
for (const run of runs) process.stdout.write(`${JSON.stringify(run)}\n`)

async function measure(mode: (typeof MODES)[number], nodes: number): Promise<Run> {
  await using cluster = await Cluster.start({ agent: { routing: { mode } } })
  for (let index = 1; index < nodes; index++) cluster.api.put(peer(index))
  const self = await cluster.prepare(SELF)
  // The other nodes are on this link: 172.20.0.0/16 and 2001:db8:20::/64.
  for (const address of ['172.20.255.254/16', '2001:db8:20::ffff:1/64']) {
    await self.netns.run(['ip', 'address', 'add', address, 'dev', 'eth0'])
  }
  const agentAtMs = performance.now()
  await self.startAgent(cluster.agentConfig(SELF))
  const count = async (): Promise<number> =>
    Number(await self.netns.run(['sh', '-c', '(ip -4 route show proto 118; ip -6 route show proto 118) | wc -l']))
  const want = 2 * (nodes - 1)
  await until(`${want} routes are there`, async () => (await count()) === want, 120_000)
  const allRoutesMs = performance.now() - agentAtMs
  const pid = agentPid(self.agent.pid)
  const cpuMs = cpuOf(pid)
  await pause(5_000) // what it does after: the pass that finds nothing to do
  const before = cpuOf(pid)
  await pause(REST_MS)
  const restCpuPercent = ((cpuOf(pid) - before) / REST_MS) * 100
  const memory = memoryOf(pid)
  const addedAtMs = performance.now()
  cluster.api.put(peer(nodes))
  await until('the new node has its routes', async () => (await count()) === want + 2, 30_000)
  return { mode, nodes, allRoutesMs, ...memory, cpuMs, restCpuPercent, oneMoreMs: performance.now() - addedAtMs }
}

/** Another node, on the same link. */
function peer(index: number): KubeObject {
  const ip = `172.20.${index >> 8}.${index & 255}`
  const hex = index.toString(16)
  const node = nodeObject(`node-${index}`, {
    podCidrs: [`10.${1 + (index >> 8)}.${index & 255}.0/24`, `fd00:1:${hex}::/64`],
    ips: [ip, `2001:db8:20::${hex}`],
  })
  return { ...node, status: { ...(node['status'] as object), images: IMAGES } }
}

/** setpriv and nsenter execute what they start: the pid is that of the agent itself. */
function agentPid(pid: number): number {
  const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  if (!/^\S*tulle-agent /.test(command)) throw new Error(`process ${pid} is ${command}: want the agent`)
  return pid
}

function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10
}

function memoryOf(pid: number): { readonly rssMiB: number; readonly peakRssMiB: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const value = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) / 1024
  return { rssMiB: value('VmRSS'), peakRssMiB: value('VmHWM') }
}

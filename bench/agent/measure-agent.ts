import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { nodeObject, type KubeObject } from '../../e2e/kube/api-server.ts'
import { Cluster, type ClusterNode, type NodePlan } from '../../e2e/netns/harness/cluster.ts'
import { until } from '../../e2e/netns/harness/until.ts'
import { cpuOfMs, heldBy } from '../process-usage.ts'
import type { AgentSample } from '../report/agent-section.ts'

/** Until the pass that finds nothing to do. */
const SETTLE_MS = 5_000
/** Pods that are attached at the same time. */
const CROWD = 8
const ALL_ROUTES_MS = 120_000
const ONE_ROUTE_MS = 30_000
const READY_MS = 60_000
/** As many and as long as a usual node's list of images. */
const IMAGES = Array.from({ length: 40 }, (_, index) => ({
  names: [`registry.example/library/image-${index}@sha256:${'0'.repeat(64)}`],
  sizeBytes: 1_000_000 + index,
}))
const SELF: NodePlan = { name: 'self', network: 0, host: 1, podCidrs: ['10.0.0.0/24', 'fd00::/64'] }

export interface AgentMeasurement {
  readonly mode: 'direct' | 'vxlan'
  readonly nodes: number
  /** On this node: each a namespace of its own. */
  readonly pods: number
  /** For how long the daemons are watched at rest. */
  readonly restMs: number
}

/** Starts an agent in a cluster of so many nodes, attaches pods, watches what the daemons hold and do, and adds one node more. */
export async function measureAgent({ mode, nodes, pods, restMs }: AgentMeasurement): Promise<AgentSample> {
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
  await until(`${want} routes are there`, async () => (await count()) === want, ALL_ROUTES_MS)
  const allRoutesMs = performance.now() - agentAtMs
  const agent = pidOf('tulle-agent', self.agent.pid)
  const ipamd = pidOf('ipamd', self.ipamd.pid)
  const cpuMs = cpuOfMs(agent)
  await until('the node is ready', async () => (await self.ask('/readyz')).status === 200, READY_MS)
  await attach(self, pods)
  await pause(SETTLE_MS)
  const before = { agent: cpuOfMs(agent), ipamd: cpuOfMs(ipamd) }
  await pause(restMs)
  const restCpuPercent = {
    agent: ((cpuOfMs(agent) - before.agent) / restMs) * 100,
    ipamd: ((cpuOfMs(ipamd) - before.ipamd) / restMs) * 100,
  }
  const held = { agent: heldBy(agent), ipamd: heldBy(ipamd) }
  const addedAtMs = performance.now()
  cluster.api.put(peer(nodes))
  await until('the new node has its routes', async () => (await count()) === want + 2, ONE_ROUTE_MS)
  return { mode, nodes, pods, allRoutesMs, cpuMs, restCpuPercent, held, oneMoreMs: performance.now() - addedAtMs }
}

async function attach(node: ClusterNode, pods: number): Promise<void> {
  let left = pods
  const crowd = Array.from({ length: CROWD }, async () => {
    while (left-- > 0) await node.attach()
  })
  await Promise.all(crowd)
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

/** setpriv and nsenter execute what they start: the pid is that of the daemon itself. */
function pidOf(name: string, pid: number): number {
  const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
  if (!command.split(' ')[0]?.endsWith(`/${name}`)) throw new Error(`process ${pid} is ${command}: want ${name}`)
  return pid
}

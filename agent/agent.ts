import { exchange } from '../lib/os/http-over-unix.ts'
import { IpamClient } from '../lib/os/ipam-client.ts'
import { PATHS } from '../lib/ipam/protocol.ts'
import { formatPrefix, type Prefix } from '../lib/net/prefix.ts'
import { KubeClient } from '../lib/kube/kube-client.ts'
import { Mirror, type Contact } from '../lib/kube/mirror.ts'
import type { ServerAccess } from '../lib/kube/server-access.ts'
import type { Log } from '../lib/log/json-log.ts'
import { Counter } from '../lib/metrics/instruments.ts'
import type { WatchOptions } from '../lib/kernel/node-changes.ts'
import type { Kernel } from '../lib/plan/kernel.ts'
import type { NodeKernel } from '../lib/plan/node-kernel.ts'
import { Deadline } from '../lib/time/deadline.ts'
import { Complaints } from './complaints.ts'
import type { AgentConfig } from './config.ts'
import { isSameNode, type ClusterNode } from './desired/cluster.ts'
import { parseNode } from './desired/parse-node.ts'
import { HandOver } from './hand-over.ts'
import { hostProblems } from './host/host-problems.ts'
import type { HostFacts } from './host/host-problems.ts'
import { serveHttp } from './http-server.ts'
import type { ConflistPaths } from './install/install-conflist.ts'
import { exhausted, readIpamd } from './ipamd-report.ts'
import { LevelLoop } from './level-loop.ts'
import { NodeReport } from './node-report.ts'
import { pagesOf } from './pages.ts'
import { Masquerade } from './masquerade.ts'
import { Routing } from './routing.ts'
import { AgentState } from './state.ts'

/** The routes are looked at this often without any reason to. */
const ROUTING_EVERY_MS = 30_000
const HAND_OVER_EVERY_MS = 30_000
/** Another installer may have changed the conflist, or removed it. */
const INSTALL_EVERY_MS = 60_000
const CONDITIONS_EVERY_MS = 300_000
const IPAMD_EVERY_MS = 15_000
/** How soon sets are found that somebody has flushed. A look costs next to nothing while nobody has changed a table. */
const MASQUERADE_EVERY_MS = 1_000
const HOST_EVERY_MS = 300_000
const MEMORY_EVERY_MS = 10_000
const IPAMD_METRICS_TIMEOUT_MS = 3_000

/** What the agent has of the outside. */
export interface AgentEdges {
  readonly access: ServerAccess
  readonly kernel: NodeKernel
  /** Tells when the node's network changed, until `signal` says stop. */
  readonly watchNode: (options: WatchOptions) => Promise<void>
  readonly openKernel: () => Kernel
  /** Looks for what is known to get in the way of pods. */
  readonly readHostFacts: () => Promise<HostFacts>
  /** Makes the conflist say what ours says. True when it was written. */
  readonly installConflist: (paths: ConflistPaths) => boolean
  /** Gives back memory that was freed: what a change of the cluster needed is not needed after it. */
  readonly giveBackMemory: () => void
  readonly log: Log
  readonly nowUnixMs: () => number
  /** How long another agent, which has our port, may take to end. Nothing is done meanwhile. Absent: it is not waited for. */
  readonly waitMs?: number
}

/** An agent that runs. */
export interface Agent {
  readonly httpPort: number
  /** Stops all loops; what was made in the kernel stays. */
  close(): Promise<void>
}

/**
 * Starts the agent: mirrors the cluster's nodes, keeps the routes, tells ipamd, writes the node's conditions, answers HTTP.
 *
 * @throws {Error} when the port cannot be had. Everything else that is not there yet is waited for.
 */
export async function startAgent(
  config: AgentConfig & { readonly nodeName: string },
  edges: AgentEdges,
): Promise<Agent> {
  const { log, nowUnixMs, kernel } = edges
  const { nodeName } = config
  const state = new AgentState()
  const client = new KubeClient(edges.access)
  const ipam = new IpamClient(config.ipamdSocketPath)
  const counters = newCounters()

  const mirror = new Mirror<ClusterNode>({
    client,
    path: '/api/v1/nodes',
    parse: parseNode,
    isSame: isSameNode,
    onChange: () => routingLoop.poke(),
    onContact: contact => {
      tellContact(contact, state, log)
      state.hear(contact, nowUnixMs())
      counters.contacts.add({ result: contact.kind })
    },
  })
  const routing = new Routing({
    kernel,
    nodeName,
    settings: config.routing,
    cluster: () => mirror.snapshot,
    log,
    onReport: report => {
      const isNew = podCidrText(state.routing?.podCidrs) !== podCidrText(report.podCidrs)
      const exemptBefore = state.routing?.exempt
      counters.passes.add()
      counters.changes.add({}, report.changes)
      update(() => (state.routing = report))
      if (isNew) handOverLoop.poke()
      if (report.exempt !== exemptBefore) masqueradeLoop.poke()
    },
  })
  const handOver = new HandOver({
    send: (podCidrs, by) => ipam.handOverPodCidrs({ podCidrs }, by),
    podCidrs: () => state.routing?.podCidrs,
    log,
    onReport: report => update(() => (state.handOver = report)),
  })

  /** Who waits for the node to be ready, or tells of it, looks again when that has changed. */
  function update(change: () => void): void {
    const before = state.missing.join()
    change()
    if (state.missing.join() === before) return
    installLoop.poke()
    conditionsLoop.poke()
  }

  const complaints = new Complaints(log)
  const routingLoop = new LevelLoop({
    pass: () => routing.pass(),
    everyMs: ROUTING_EVERY_MS,
    restFactor: 2,
    onError: complaints.about('looking at the routes'),
  })
  const handOverLoop = new LevelLoop({
    pass: () => handOver.pass(),
    everyMs: HAND_OVER_EVERY_MS,
    restFactor: 1,
    onError: complaints.about('handing over the pod CIDRs'),
  })
  const report = new NodeReport({
    client,
    nodeName,
    nodeUid: () => mirror.snapshot?.get(nodeName)?.uid,
    state,
    nowUnixMs,
  })
  const conditionsLoop = new LevelLoop({
    pass: () => report.pass(),
    everyMs: CONDITIONS_EVERY_MS,
    restFactor: 1,
    onError: complaints.about('writing the conditions of the node'),
  })
  const ipamdLoop = new LevelLoop({
    pass: async () => {
      const before = conditionText(state.ipamd)
      // That it does not answer is said where the pod CIDRs are handed over.
      state.ipamd = await readIpamd(config.ipamdSocketPath).catch(() => undefined)
      if (conditionText(state.ipamd) !== before) conditionsLoop.poke()
      return true
    },
    everyMs: IPAMD_EVERY_MS,
    restFactor: 1,
    onError: complaints.about('asking ipamd'),
  })
  const hostLoop = new LevelLoop({
    pass: async () => {
      const problems = hostProblems(await edges.readHostFacts())
      const isNews = JSON.stringify(problems) !== JSON.stringify(state.hostProblems)
      state.hostProblems = problems
      if (!isNews) return true
      for (const problem of problems) log.warn('in the way on this node', { ...problem })
      conditionsLoop.poke()
      return true
    },
    everyMs: HOST_EVERY_MS,
    restFactor: 1,
    onError: complaints.about('looking at the node'),
  })
  const installLoop = new LevelLoop({
    pass: async () => {
      // Last of all, and only then (checklist R10): with a conflist, the runtime starts pods.
      if (config.install === undefined || state.missing.length > 0) return true
      const { conflistFrom: from, conflistTo: to } = config.install
      if (edges.installConflist({ from, to })) log.info('conflist written', { to })
      return true
    },
    everyMs: INSTALL_EVERY_MS,
    restFactor: 1,
    onError: complaints.about('installing the conflist'),
  })

  const memoryLoop = new LevelLoop({
    pass: async () => {
      edges.giveBackMemory()
      return true
    },
    everyMs: MEMORY_EVERY_MS,
    restFactor: 1,
    onError: complaints.about('giving back memory'),
  })

  const masquerade = new Masquerade({
    openKernel: edges.openKernel,
    exempt: () => state.routing?.exempt,
    log,
    onTold: () => update(() => (state.masquerade = 'told')),
  })
  const tellMasqueradeError = complaints.about('telling masquerade where the cluster is')
  const masqueradeLoop = new LevelLoop({
    pass: () => masquerade.pass(),
    everyMs: MASQUERADE_EVERY_MS,
    // Where pods come and go, tables change all the time, and a large cluster makes large sets.
    restFactor: 10,
    onError: error => {
      tellMasqueradeError(error)
      // What was told once is there still, as far as is known.
      if (state.masquerade === 'told') return
      update(() => (state.masquerade = { failure: (error as Error).message }))
    },
  })

  const pages = pagesOf({
    state,
    nowUnixMs,
    ipamdMetrics: () => ipamdMetrics(config.ipamdSocketPath),
    counters: () => Object.values(counters).map(counter => counter.read()),
  })
  const server = await serveHttp({ ...config.listen, pages, waitMs: edges.waitMs })
  const stop = new AbortController()
  const { signal } = stop
  const running = [
    mirror,
    routingLoop,
    handOverLoop,
    installLoop,
    ipamdLoop,
    masqueradeLoop,
    hostLoop,
    conditionsLoop,
    memoryLoop,
  ].map(loop => loop.run(signal))
  const watching = edges.watchNode({
    signal,
    isOverlay: linkIndex => routing.isOverlay(linkIndex),
    onChange: () => routingLoop.poke(),
  })
  // Without it, changes on the node are found by the look that is taken now and then.
  running.push(watching.catch(complaints.about('hearing of changes on the node')))
  return {
    httpPort: server.port,
    async close() {
      stop.abort()
      await server.close()
      client[Symbol.dispose]()
      await Promise.all(running)
      masquerade[Symbol.dispose]()
      kernel[Symbol.dispose]()
    },
  }
}

function newCounters(): Readonly<Record<'contacts' | 'passes' | 'changes', Counter>> {
  return {
    contacts: new Counter({
      name: 'tulle_agent_api_contacts_total',
      help: 'Lists and watches of the API server that began, and those that failed.',
    }),
    passes: new Counter({ name: 'tulle_agent_passes_total', help: 'Looks at the routes.' }),
    changes: new Counter({ name: 'tulle_agent_changes_total', help: 'Changes of routes, neighbours and links.' }),
  }
}

function podCidrText(podCidrs: readonly Prefix[] | undefined): string {
  return (podCidrs ?? []).map(formatPrefix).join()
}

/** Says when the server goes away and when it is back; a watch that ends in order is no news. */
function tellContact(contact: Contact, state: AgentState, log: Log): void {
  const wasAway = state.contact?.kind === 'failed'
  if (contact.kind === 'skipped') log.warn('a node that cannot be read is left out', { error: contact.error })
  else if (contact.kind === 'failed') {
    const { error, failures, nextInMs } = contact
    log.warn('the API server does not answer', { error, failures, nextInMs })
  } else if (wasAway || state.contact === undefined) log.info('the API server answers', { ...contact })
}

/** Changes when the cluster has to be told something else; numbers alone are no news. */
function conditionText(report: AgentState['ipamd']): string {
  if (report === undefined) return ''
  return [exhausted(report).length, ...report.fallbacks.map(({ verb, reason }) => `${verb} ${reason}`)].join()
}

async function ipamdMetrics(socketPath: string): Promise<string | undefined> {
  try {
    const by = Deadline.in(IPAMD_METRICS_TIMEOUT_MS)
    const { status, body } = await exchange(socketPath, { method: 'GET', path: PATHS.metrics }, by)
    return status === 200 ? body : undefined
  } catch {
    // It is away: the gauge tulle_agent_ipamd_up says so.
    return undefined
  }
}

import { isDeepStrictEqual } from 'node:util'
import { formatPrefix, type Prefix } from '../lib/net/prefix.ts'
import type { Snapshot } from '../lib/kube/mirror.ts'
import type { Log } from '../lib/log/json-log.ts'
import type { NodeKernel } from '../lib/plan/node-kernel.ts'
import { renderNodeOperation } from '../lib/plan/node-operation.ts'
import { Deadline } from '../lib/time/deadline.ts'
import type { ClusterNode } from './desired/cluster.ts'
import {
  desiredNode,
  OVERLAY_LINK,
  type DesiredNode,
  type RoutingProblem,
  type RoutingSettings,
} from './desired/desired.ts'
import { diffNode } from './desired/diff-node.ts'

/** For one look at the kernel and everything that follows, at 5,000 nodes on a busy machine. */
const PASS_TIMEOUT_MS = 60_000
/** Changes that are written to the log one by one; of more only their number is. */
const MAX_LOGGED_CHANGES = 20

/** What is known after a look. */
export interface RoutingReport {
  /** Where packets of pods keep their source. The same list as before while nothing in it changed. */
  readonly exempt: readonly Prefix[]
  /** This node's pod CIDRs that may be used. */
  readonly podCidrs: readonly Prefix[]
  /** Nodes in the cluster, this one included. */
  readonly nodes: number
  readonly routes: { readonly direct: number; readonly overlay: number }
  readonly overlayMtuBytes: number | undefined
  /** Nodes that cannot be reached, and why. */
  readonly problems: readonly RoutingProblem[]
  /** What of others is in the way on this node. */
  readonly obstacles: readonly string[]
  /** What the kernel refused at the last look. */
  readonly failures: readonly string[]
  /** Operations that the last look led to. */
  readonly changes: number
  readonly tookMs: number
}

export interface RoutingOptions {
  readonly kernel: NodeKernel
  readonly nodeName: string
  readonly settings: RoutingSettings
  /** Undefined until the cluster is known. */
  readonly cluster: () => Snapshot<ClusterNode> | undefined
  readonly log: Log
  /** Called after each look. */
  readonly onReport: (report: RoutingReport) => void
}

/** Keeps this node's routes to other nodes' pods as the cluster wants them. */
export class Routing {
  readonly #options: RoutingOptions
  #told = ''
  #overlayIndex: number | undefined
  #exempt: readonly Prefix[] = []

  constructor(options: RoutingOptions) {
    this.#options = options
  }

  /**
   * One look: what is wanted, what is there, and the difference made. False when something of it failed.
   *
   * Before the cluster is known, and while it does not know this node, nothing is changed: what an earlier run made goes on
   * working.
   */
  async pass(): Promise<boolean> {
    const { kernel, nodeName, settings, cluster } = this.#options
    const snapshot = cluster()
    if (snapshot === undefined) return true
    const startedAtMs = performance.now()
    const by = Deadline.in(PASS_TIMEOUT_MS)
    const nodes = [...snapshot.values()]
    const observed = await kernel.observe(by)
    this.#overlayIndex = observed.links.find(({ name }) => name === OVERLAY_LINK)?.index
    const desired = desiredNode({ nodeName, settings, nodes, observed })
    if (!snapshot.has(nodeName)) {
      this.#report({ desired, nodes: nodes.length, obstacles: [], failures: [], changes: 0, startedAtMs })
      return true
    }
    const { operations, obstacles } = diffNode(desired, observed)
    const failed = operations.length === 0 ? [] : await kernel.applyAll(operations, by)
    const failures = failed.map(({ error }) => error.message)
    for (const operation of operations.slice(0, MAX_LOGGED_CHANGES)) {
      this.#options.log.info('changed', { command: renderNodeOperation(operation) })
    }
    if (operations.length > MAX_LOGGED_CHANGES) this.#options.log.info('changed more', { changes: operations.length })
    this.#report({ desired, nodes: nodes.length, obstacles, failures, changes: operations.length, startedAtMs })
    return failures.length === 0
  }

  /** Whether a link is the VXLAN device, as of the last look. */
  isOverlay(linkIndex: number): boolean {
    return linkIndex === this.#overlayIndex
  }

  #report(look: Look): void {
    const { desired, startedAtMs, ...rest } = look
    const overlayRoutes = desired.routes.filter(({ link }) => link === desired.overlay?.link).length
    if (!isDeepStrictEqual(this.#exempt, desired.exempt)) this.#exempt = desired.exempt
    const report: RoutingReport = {
      ...rest,
      exempt: this.#exempt,
      podCidrs: desired.podCidrs,
      routes: { direct: desired.routes.length - overlayRoutes, overlay: overlayRoutes },
      overlayMtuBytes: desired.overlay?.mtuBytes,
      problems: desired.problems,
      tookMs: performance.now() - startedAtMs,
    }
    this.#tell(report)
    this.#options.onReport(report)
  }

  /** Says what is wrong when it is other than the last time. */
  #tell({ podCidrs, problems, obstacles, failures }: RoutingReport): void {
    const text = JSON.stringify([podCidrs.map(formatPrefix), problems, obstacles, failures])
    if (text === this.#told) return
    this.#told = text
    const { log } = this.#options
    log.info('routing', { podCidrs: podCidrs.map(formatPrefix) })
    for (const problem of problems.slice(0, MAX_LOGGED_CHANGES)) log.warn('no route', { ...problem })
    for (const obstacle of obstacles) log.warn('in the way', { obstacle })
    for (const failure of failures.slice(0, MAX_LOGGED_CHANGES)) log.error('refused by the kernel', { failure })
  }
}

interface Look extends Pick<RoutingReport, 'nodes' | 'obstacles' | 'failures' | 'changes'> {
  readonly desired: DesiredNode
  readonly startedAtMs: number
}

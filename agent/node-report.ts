import type { KubeClient } from '../lib/kube/kube-client.ts'
import { conditionsOf, eventsOf } from './conditions.ts'
import { writeConditions } from './node-conditions.ts'
import { writeEvent } from './node-events.ts'
import type { AgentState } from './state.ts'

export interface NodeReportOptions {
  readonly client: KubeClient
  readonly nodeName: string
  /** Of the Node object; undefined while that is not known. */
  readonly nodeUid: () => string | undefined
  readonly state: AgentState
  readonly nowUnixMs: () => number
}

/** Tells the cluster how this node is: conditions of its Node object, and an event for each that changes. */
export class NodeReport {
  readonly #options: NodeReportOptions
  readonly #told = new Map<string, 'True' | 'False'>()

  constructor(options: NodeReportOptions) {
    this.#options = options
  }

  /** One look. Rejects when the API server does not take it. */
  async pass(): Promise<boolean> {
    const { client, nodeName, nodeUid, state, nowUnixMs } = this.#options
    // A restart of the agent must not make the node unavailable for a moment.
    if (state.isStarting) return true
    const conditions = conditionsOf({ ...state.findings, nowUnixMs: nowUnixMs() })
    await writeConditions(client, nodeName, conditions)
    const events = eventsOf(this.#told, conditions)
    for (const { type, status } of conditions) this.#told.set(type, status)
    const node = { name: nodeName, uid: nodeUid() ?? '' }
    for (const event of events) await writeEvent(client, node, event)
    return true
  }
}

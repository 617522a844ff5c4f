import { equalPrefixes, formatPrefix } from '../lib/net/prefix.ts'
import type { Contact } from '../lib/kube/mirror.ts'
import type { NodeFindings } from './conditions.ts'
import type { HostProblem } from './host/host-problems.ts'
import type { IpamdReport } from './ipamd-report.ts'
import type { HandOverReport } from './hand-over.ts'
import type { RoutingReport } from './routing.ts'

/** What the agent knows of itself: each part is put in by the loop that finds it out, and read by whoever shows it. */
export class AgentState {
  routing: RoutingReport | undefined
  handOver: HandOverReport | undefined
  /** Whether masquerade knows the cluster, or why it does not; undefined until it was told, or could not be. */
  masquerade: 'told' | { readonly failure: string } | undefined
  /** Undefined while ipamd does not answer. */
  ipamd: IpamdReport | undefined
  /** Undefined until the node was looked at. */
  hostProblems: readonly HostProblem[] | undefined
  /** The last thing that was heard of the API server. */
  contact: Contact | undefined
  /** When the API server last answered; 0 when it never did. */
  contactAtUnixMs = 0

  hear(contact: Contact, nowUnixMs: number): void {
    if (contact.kind === 'skipped') return
    this.contact = contact
    if (contact.kind !== 'failed') this.contactAtUnixMs = nowUnixMs
  }

  /** True until the cluster is known, and ipamd and masquerade were told of it for the first time, or could not be told. */
  get isStarting(): boolean {
    if (this.routing === undefined) return true
    return this.routing.podCidrs.length > 0 && (this.handOver === undefined || this.masquerade === undefined)
  }

  /** What the node's conditions follow from. */
  get findings(): Omit<NodeFindings, 'nowUnixMs'> {
    return { missing: this.missing, ipamd: this.ipamd, hostProblems: this.hostProblems }
  }

  /** What this node lacks to run pods that others reach, each as a sentence; empty when it is ready. */
  get missing(): readonly string[] {
    const { routing, handOver } = this
    if (routing === undefined) return ['the cluster is not known yet']
    if (routing.podCidrs.length === 0) {
      const own = routing.problems.map(({ reason }) => reason)
      return [own[0] ?? 'this node has no pod CIDR']
    }
    // One route that is refused leaves one node out, and is told as such; when none is taken, something is wrong here.
    const isRefusedAll = routing.failures.length > 0 && routing.failures.length === routing.changes
    const missing = isRefusedAll ? [`the kernel refused: ${routing.failures[0]}`] : []
    // A pod that starts before that would be seen with its node's address.
    if (this.masquerade === undefined) missing.push('masquerade does not know the cluster yet')
    else if (this.masquerade !== 'told') missing.push(`masquerade cannot know the cluster: ${this.masquerade.failure}`)
    if (handOver === undefined) return [...missing, 'ipamd was not told the pod CIDRs yet']
    if (handOver.failure !== undefined) return [...missing, `ipamd did not take the pod CIDRs: ${handOver.failure}`]
    const isTaken = routing.podCidrs.every(prefix => handOver.podCidrs.some(taken => equalPrefixes(taken, prefix)))
    if (isTaken) return missing
    return [...missing, `ipamd has other pod CIDRs: ${handOver.podCidrs.map(formatPrefix).join(', ')}`]
  }
}

import { equalPrefixes, formatPrefix } from '../lib/net/prefix.ts'
import type { Contact } from '../lib/kube/mirror.ts'
import type { HandOverReport } from './hand-over.ts'
import type { RoutingReport } from './routing.ts'

/** What the agent knows of itself: each part is put in by the loop that finds it out, and read by whoever shows it. */
export class AgentState {
  routing: RoutingReport | undefined
  handOver: HandOverReport | undefined
  /** The last thing that was heard of the API server. */
  contact: Contact | undefined
  /** When the API server last answered; 0 when it never did. */
  contactAtUnixMs = 0

  hear(contact: Contact, nowUnixMs: number): void {
    if (contact.kind === 'skipped') return
    this.contact = contact
    if (contact.kind !== 'failed') this.contactAtUnixMs = nowUnixMs
  }

  /** What this node lacks to run pods that others reach, each as a sentence; empty when it is ready. */
  get missing(): readonly string[] {
    const { routing, handOver } = this
    if (routing === undefined) return ['the cluster is not known yet']
    if (routing.podCidrs.length === 0) {
      const own = routing.problems.map(({ reason }) => reason)
      return [own[0] ?? 'this node has no pod CIDR']
    }
    const missing = routing.failures.length === 0 ? [] : [`the kernel refused: ${routing.failures[0]}`]
    if (handOver === undefined) return [...missing, 'ipamd was not told the pod CIDRs yet']
    if (handOver.failure !== undefined) return [...missing, `ipamd did not take the pod CIDRs: ${handOver.failure}`]
    const isTaken = routing.podCidrs.every(prefix => handOver.podCidrs.some(taken => equalPrefixes(taken, prefix)))
    if (isTaken) return missing
    return [...missing, `ipamd has other pod CIDRs: ${handOver.podCidrs.map(formatPrefix).join(', ')}`]
  }
}

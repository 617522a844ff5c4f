import { formatPrefix } from '../lib/net/prefix.ts'
import { EXPOSITION_MEDIA_TYPE, renderMetrics, type Metric } from '../lib/metrics/exposition.ts'
import { gauge } from '../lib/metrics/instruments.ts'
import type { Page } from './http-server.ts'
import type { RoutingReport } from './routing.ts'
import type { AgentState } from './state.ts'

const TEXT = 'text/plain; charset=utf-8'
const JSON_TYPE = 'application/json'

export interface PagesOptions {
  readonly state: AgentState
  readonly nowUnixMs: () => number
  /** ipamd's own exposition; undefined when it does not answer. */
  readonly ipamdMetrics: () => Promise<string | undefined>
  readonly counters: () => readonly Metric[]
}

/** What the agent answers, by path. */
export function pagesOf(options: PagesOptions): ReadonlyMap<string, () => Page | Promise<Page>> {
  const { state } = options
  return new Map<string, () => Page | Promise<Page>>([
    // Alive is who answers: a loop that failed is tried again, and a restart would not help it.
    ['/healthz', () => ({ status: 200, mediaType: TEXT, body: 'ok\n' })],
    ['/readyz', () => readiness(state)],
    ['/status', () => ({ status: 200, mediaType: JSON_TYPE, body: `${JSON.stringify(statusOf(state), null, 2)}\n` })],
    ['/metrics', () => metrics(options)],
  ])
}

function readiness(state: AgentState): Page {
  const { missing } = state
  if (missing.length === 0) return { status: 200, mediaType: TEXT, body: 'ready\n' }
  return { status: 503, mediaType: TEXT, body: `${missing.join('\n')}\n` }
}

function statusOf({ routing, handOver, contact, contactAtUnixMs, missing, hostProblems }: AgentState): object {
  return {
    ready: missing.length === 0,
    missing,
    hostProblems: hostProblems ?? null,
    api: { contactAt: contactAtUnixMs === 0 ? null : new Date(contactAtUnixMs).toISOString(), ...contactOf(contact) },
    routing: routing === undefined ? null : routingOf(routing),
    ipamd:
      handOver === undefined
        ? null
        : {
            podCidrs: handOver.podCidrs.map(formatPrefix),
            draining: handOver.draining.map(formatPrefix),
            failure: handOver.failure ?? null,
          },
  }
}

function routingOf({ exempt, podCidrs, ...rest }: RoutingReport): object {
  return { podCidrs: podCidrs.map(formatPrefix), ...rest, exempt: exempt.length }
}

function contactOf(contact: AgentState['contact']): object {
  if (contact?.kind !== 'failed') return { isAway: contact === undefined, failure: null }
  return { isAway: true, failure: (contact.error as Error).message, failures: contact.failures }
}

async function metrics(options: PagesOptions): Promise<Page> {
  const ipamd = await options.ipamdMetrics()
  const own = [
    ...options.counters(),
    ...stateMetrics(options.state, options.nowUnixMs()),
    gauge({ name: 'tulle_agent_ipamd_up', help: 'Whether ipamd answers.' }, [
      { labels: {}, value: ipamd === undefined ? 0 : 1 },
    ]),
  ]
  return { status: 200, mediaType: EXPOSITION_MEDIA_TYPE, body: `${renderMetrics(own)}${ipamd ?? ''}` }
}

function stateMetrics(
  { routing, contactAtUnixMs, missing, handOver }: AgentState,
  nowUnixMs: number,
): readonly Metric[] {
  const sinceContactSeconds = contactAtUnixMs === 0 ? [] : [{ labels: {}, value: (nowUnixMs - contactAtUnixMs) / 1000 }]
  return [
    gauge({ name: 'tulle_agent_ready', help: 'Whether pods of this node can be reached by others.' }, [
      { labels: {}, value: missing.length === 0 ? 1 : 0 },
    ]),
    gauge(
      { name: 'tulle_agent_seconds_since_api_contact', help: 'Time since the API server was last reached anew.' },
      sinceContactSeconds,
    ),
    gauge({ name: 'tulle_agent_nodes', help: 'Nodes in the cluster.' }, [{ labels: {}, value: routing?.nodes ?? 0 }]),
    gauge({ name: 'tulle_agent_routes', help: "Routes to other nodes' pods, by how packets get there." }, [
      { labels: { by: 'direct' }, value: routing?.routes.direct ?? 0 },
      { labels: { by: 'vxlan' }, value: routing?.routes.overlay ?? 0 },
    ]),
    gauge({ name: 'tulle_agent_unreachable', help: 'Reasons for which some pod CIDR has no route.' }, [
      { labels: {}, value: routing?.problems.length ?? 0 },
    ]),
    gauge({ name: 'tulle_agent_refused_changes', help: 'Changes that the kernel refused at the last look.' }, [
      { labels: {}, value: routing?.failures.length ?? 0 },
    ]),
    gauge({ name: 'tulle_agent_obstacles', help: 'Things of others that are in the way of our routes.' }, [
      { labels: {}, value: routing?.obstacles.length ?? 0 },
    ]),
    gauge({ name: 'tulle_agent_pass_seconds', help: 'What the last look at the routes took.' }, [
      { labels: {}, value: (routing?.tookMs ?? 0) / 1000 },
    ]),
    gauge({ name: 'tulle_agent_handed_over', help: 'Pod CIDRs that ipamd has taken.' }, [
      { labels: {}, value: handOver?.podCidrs.length ?? 0 },
    ]),
  ]
}

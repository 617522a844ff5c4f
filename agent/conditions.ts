import type { HostProblem } from './host/host-problems.ts'
import { exhausted, recentFallbacks, type IpamdReport } from './ipamd-report.ts'
import type { NodeCondition } from './node-conditions.ts'
import type { NodeEvent } from './node-events.ts'

/** What the node's conditions follow from. */
export interface NodeFindings {
  /** What the node lacks to be ready; empty when it is. */
  readonly missing: readonly string[]
  /** Undefined while ipamd does not answer: then nothing is said about it. */
  readonly ipamd: IpamdReport | undefined
  /** Undefined until the node was looked at. */
  readonly hostProblems: readonly HostProblem[] | undefined
  readonly nowUnixMs: number
}

/** A fallback that is longer ago does not count any more. */
const FALLBACK_WINDOW_MS = 900_000

/** The type that Kubernetes itself reads: while it is True, pods are not put on the node. */
export const NETWORK_UNAVAILABLE = 'NetworkUnavailable'

/** What the cluster is told about this node. True is bad, for each. */
export function conditionsOf({ missing, ipamd, hostProblems, nowUnixMs }: NodeFindings): readonly NodeCondition[] {
  return [
    condition(NETWORK_UNAVAILABLE, {
      bad: missing.length === 0 ? undefined : missing.join('; '),
      reasons: ['TulleIsNotReady', 'TulleIsReady'],
      good: 'routes are made and ipamd has the pod CIDRs',
    }),
    ...(ipamd === undefined ? [] : ipamdConditions(ipamd, nowUnixMs)),
    ...(hostProblems === undefined ? [] : [hostCondition(hostProblems)]),
  ]
}

function ipamdConditions(ipamd: IpamdReport, nowUnixMs: number): readonly NodeCondition[] {
  const full = exhausted(ipamd)
  return [
    condition('TulleAddressesExhausted', {
      bad: full.length === 0 ? undefined : full.join('; '),
      reasons: ['NoFreeAddress', 'AddressesAreFree'],
      good: 'every pool has free addresses',
    }),
    condition('TulleDirectFallback', {
      bad: recentFallbacks(ipamd, nowUnixMs - FALLBACK_WINDOW_MS),
      reasons: ['CallsWithoutIpamd', 'IpamdServes'],
      good: 'ipamd serves the calls of the plugin',
    }),
  ]
}

function hostCondition(problems: readonly HostProblem[]): NodeCondition {
  return condition('TulleHostConflict', {
    bad:
      problems.length === 0 ? undefined : problems.map(({ problem, cure }) => `${problem} (cure: ${cure})`).join('; '),
    reasons: [problems[0]?.name ?? 'HostConflict', 'NoHostConflict'],
    good: 'nothing on the node is known to get in the way',
  })
}

interface Saying {
  /** What is wrong; undefined when all is well. */
  readonly bad: string | undefined
  /** The reason when it is bad, and the one when it is not. */
  readonly reasons: readonly [bad: string, good: string]
  readonly good: string
}

function condition(type: string, { bad, reasons, good }: Saying): NodeCondition {
  const [badReason, goodReason] = reasons
  if (bad === undefined) return { type, status: 'False', reason: camelCase(goodReason), message: good }
  return { type, status: 'True', reason: camelCase(badReason), message: bad }
}

/** The API server wants a word in CamelCase. */
function camelCase(text: string): string {
  return text.replace(/(?:^|-)([a-z])/g, (_, letter: string) => letter.toUpperCase())
}

/**
 * The events that say what has changed between two times that conditions were told.
 *
 * @param before what was told last; empty at the start, when only what is wrong is news. That a node which has just started is
 *   not ready yet is none.
 */
export function eventsOf(
  before: ReadonlyMap<string, NodeCondition['status']>,
  now: readonly NodeCondition[],
): readonly NodeEvent[] {
  return now.flatMap(({ type, status, reason, message }): readonly NodeEvent[] => {
    const was = before.get(type)
    if (was === status || (was === undefined && (status === 'False' || type === NETWORK_UNAVAILABLE))) return []
    return [{ type: status === 'True' ? 'Warning' : 'Normal', reason, message: `${type}: ${message}` }]
  })
}

import { DIRECT, PEER, SERVED, TRUE, type ContenderName } from './contenders.ts'
import { shown, shownRatio } from './numbers.ts'
import type { Sample, Verb } from './samples.ts'
import { summaryOf, trafficOf, type Kind, type Summary } from './select.ts'

/** A goal, and what a run says of it. */
export interface Goal {
  readonly work: string
  readonly goal: string
  readonly measured: string
  readonly verdict: 'reached' | 'missed' | 'not measured'
}

interface Limit {
  readonly work: string
  readonly verb: Verb
  readonly hasPort?: true
  readonly atOnce?: number
  readonly contender?: ContenderName
  readonly of?: 'p50Ms' | 'cpuMs' | 'wholeMs'
  readonly atMost: number
}

/** What Tulle takes of the time of the peer, at most (DESIGN: speed). */
const LIMITS: readonly Limit[] = [
  { work: 'ADD, served', verb: 'ADD', atMost: 0.16 },
  { work: 'ADD with a hostPort, served', verb: 'ADD', hasPort: true, atMost: 0.07 },
  { work: 'DEL, served', verb: 'DEL', atMost: 0.12 },
  { work: 'DEL with a hostPort, served', verb: 'DEL', hasPort: true, atMost: 0.04 },
  ...[100, 250].flatMap((atOnce): readonly Limit[] => [
    { work: `${atOnce} ADDs at once`, verb: 'ADD', atOnce, of: 'wholeMs', atMost: 0.15 },
    { work: `${atOnce} DELs at once`, verb: 'DEL', atOnce, of: 'wholeMs', atMost: 0.15 },
    { work: `${atOnce} ADDs at once with hostPorts`, verb: 'ADD', hasPort: true, atOnce, of: 'wholeMs', atMost: 0.07 },
    { work: `${atOnce} DELs at once with hostPorts`, verb: 'DEL', hasPort: true, atOnce, of: 'wholeMs', atMost: 0.03 },
  ]),
  { work: 'processor time of an ADD, whole process tree and ipamd', verb: 'ADD', of: 'cpuMs', atMost: 0.12 },
  { work: 'ADD, direct', verb: 'ADD', contender: DIRECT, atMost: 2.2 },
  { work: 'ADD with a hostPort, direct', verb: 'ADD', hasPort: true, contender: DIRECT, atMost: 0.8 },
]

/** How much longer STATUS may take than a program that does nothing. */
const STATUS_MS = 1

/** Every goal that concerns one node, judged by the samples of one run: medians, beside the kindnet chain. */
export function goalsOf(samples: readonly Sample[]): readonly Goal[] {
  return [...LIMITS.map(limit => judge(samples, limit)), statusGoal(samples), ...trafficGoals(samples)]
}

function judge(samples: readonly Sample[], limit: Limit): Goal {
  const { work, verb, hasPort = false, contender = SERVED, of = 'p50Ms', atMost } = limit
  const kind: Omit<Kind, 'contender'> = { verb, hasPort, ...(limit.atOnce !== undefined && { atOnce: limit.atOnce }) }
  const own = summaryOf(samples, { ...kind, contender })
  const peer = summaryOf(samples, { ...kind, contender: PEER })
  const isMany = limit.atOnce !== undefined
  const goal = `≤ ${atMost} ×${isMany ? ', no failure' : ''}`
  if (own === undefined || peer === undefined) return { work, goal, measured: '', verdict: 'not measured' }
  const ratio = own[of] / peer[of]
  const failed = own.failed > 0 ? `, ${own.failed} failed` : ''
  const measured = `${shownRatio(ratio)} × (${shown(own[of])} / ${shown(peer[of])} ms${failed}${peerFailed(peer)})`
  return { work, goal, measured, verdict: ratio <= atMost && own.failed === 0 ? 'reached' : 'missed' }
}

function peerFailed({ failed }: Summary): string {
  return failed > 0 ? `; of the peer ${failed} failed` : ''
}

function statusGoal(samples: readonly Sample[]): Goal {
  const [work, goal] = ['STATUS, served', `≤ ${STATUS_MS} ms more than executing true`]
  const own = summaryOf(samples, { contender: SERVED, verb: 'STATUS', hasPort: false })
  const nothing = summaryOf(samples, { contender: TRUE, verb: 'STATUS', hasPort: false })
  if (own === undefined || nothing === undefined) return { work, goal, measured: '', verdict: 'not measured' }
  const moreMs = own.p50Ms - nothing.p50Ms
  return {
    work,
    goal,
    measured: `${shown(Math.max(0, moreMs))} ms more (${shown(own.p50Ms)} − ${shown(nothing.p50Ms)} ms)`,
    verdict: moreMs <= STATUS_MS ? 'reached' : 'missed',
  }
}

function trafficGoals(samples: readonly Sample[]): readonly Goal[] {
  const [own, peer] = [trafficOf(samples, SERVED), trafficOf(samples, PEER)]
  const works = [
    ['throughput from pod to pod on one node', 'gigabitPerSecond', 'Gbit/s'],
    ['round trips from pod to pod on one node', 'roundTripsPerSecond', 'per second'],
  ] as const
  return works.map(([work, key, unit]) => {
    const goal = '≥ 1.0 × ptp'
    if (own === undefined || peer === undefined) return { work, goal, measured: '', verdict: 'not measured' }
    const ratio = own[key] / peer[key]
    const measured = `${shownRatio(ratio)} × (${shown(own[key])} / ${shown(peer[key])} ${unit})`
    // As it is shown: what two runs differ by is more than half a hundredth.
    return { work, goal, measured, verdict: Number(ratio.toFixed(2)) >= 1 ? 'reached' : 'missed' }
  })
}

import { doubts } from './doubts.ts'
import { shown, shownRatio } from './numbers.ts'
import type { Machine, Traffic } from './samples.ts'
import { quantile } from './statistics.ts'
import { markdownTable } from './table.ts'

/** TCP between pods of two nodes, by one way. */
export interface CrossNodeSample extends Omit<Traffic, 'kind' | 'contender'> {
  readonly mode: 'direct' | 'vxlan'
  readonly by: 'tulle' | 'hand'
}

/** What the path costs the processor, of each turn, in nanoseconds. */
export interface CrossNodeCost extends Pick<CrossNodeSample, 'mode' | 'by'> {
  readonly roundTripNs: readonly number[]
  readonly kibNs: readonly number[]
}

export interface CrossNodeRun {
  readonly startedAt: string
  readonly endedAt: string
  readonly machine: Machine
  readonly loadAtStart: number
  readonly loadAtEnd: number
  readonly seconds: number
  readonly samples: readonly CrossNodeSample[]
  readonly costs: readonly CrossNodeCost[]
}

/** Of the same network made by hand. */
const GOAL = 0.98
/** What the machine does besides only ever adds to a cost. */
const COST_QUANTILE = 0.1
const ROWS = [
  { title: 'throughput, Gbit/s', key: 'gigabitPerSecond', isRate: true },
  { title: 'round trips a second', key: 'roundTripsPerSecond', isRate: true },
  { title: 'round trip p50, µs', key: 'p50Us', isRate: false },
  { title: 'round trip p99, µs', key: 'p99Us', isRate: false },
] as const

const COST_ROWS = [
  { title: 'processor time of a round trip, µs', key: 'roundTripNs', nsPerUnit: 1_000 },
  { title: 'processor time of a KiB, ns', key: 'kibNs', nsPerUnit: 1 },
] as const

/** The table of one run, in Markdown: medians of the rounds, and whether the goal is reached. */
export function crossNodeSection(run: CrossNodeRun): string {
  const { startedAt, machine, loadAtStart, loadAtEnd, samples, costs } = run
  const medianOf = (
    of: Pick<CrossNodeSample, 'mode' | 'by'>,
    key: (typeof ROWS)[number]['key'],
  ): number | undefined => {
    const found = samples.filter(({ mode, by }) => mode === of.mode && by === of.by).map(sample => sample[key])
    return found.length === 0 ? undefined : quantile(found, 0.5)
  }
  const rows = (['direct', 'vxlan'] as const).flatMap(mode =>
    ROWS.flatMap(({ title, key, isRate }) => {
      const [own, hand] = [medianOf({ mode, by: 'tulle' }, key), medianOf({ mode, by: 'hand' }, key)]
      if (own === undefined || hand === undefined) return []
      const ratio = own / hand
      // Of times there is no goal of their own: they are the round trips a second, the other way round.
      const verdict = !isRate ? '' : Number(ratio.toFixed(2)) >= GOAL ? 'reached' : 'missed'
      return [[`${mode}: ${title}`, shown(own), shown(hand), `${shownRatio(ratio)} ×`, verdict]]
    }),
  )
  const costRows = (['direct', 'vxlan'] as const).flatMap(mode =>
    COST_ROWS.flatMap(({ title, key, nsPerUnit }) => {
      const [own, hand] = (['tulle', 'hand'] as const).map(by => {
        const turns = costs.find(cost => cost.mode === mode && cost.by === by)?.[key]
        return turns === undefined ? undefined : quantile(turns, COST_QUANTILE) / nsPerUnit
      })
      if (own === undefined || hand === undefined) return []
      return [[`${mode}: ${title}`, shown(own), shown(hand), `${shownRatio(own / hand)} ×`, '']]
    }),
  )
  const rounds = samples.length / 4
  return [
    `${startedAt.slice(0, 16).replace('T', ' ')} UTC. ${machine.cores} × ${machine.cpu}, Linux ${machine.kernel}; load (one minute) at the start ${shown(loadAtStart)}, at the end ${shown(loadAtEnd)}.`,
    `Medians of ${shown(rounds)} rounds of ${run.seconds} s. Goal: at least ${GOAL} × what is made by hand. Processor time: of both ends and all between them, the tenth percentile of ${costs[0]?.roundTripNs.length ?? 0} turns.`,
    ...doubts({ loads: [loadAtStart, loadAtEnd], cores: machine.cores }),
    '',
    markdownTable([['', 'tulle', 'by hand', 'ratio', `goal ≥ ${GOAL} ×`], ...rows, ...costRows]),
  ].join('\n')
}

import { doubts } from './doubts.ts'
import { shown, shownRatio } from './numbers.ts'
import type { Machine } from './samples.ts'
import { quantile } from './statistics.ts'
import { markdownTable } from './table.ts'

/** One pod. */
export interface PodSample {
  readonly network: 'tulle' | 'reference'
  readonly hasHostPort: boolean
  /** From the request that makes the pod to the event that says that it is Ready. */
  readonly readyMs: number
}

export interface PodsRun {
  readonly startedAt: string
  readonly endedAt: string
  readonly machine: Machine
  readonly loadAtStart: number
  readonly loadAtEnd: number
  readonly samples: readonly PodSample[]
}

const KINDS = [
  { title: 'without a hostPort', hasHostPort: false, goal: 'not slower', mostRatio: 1.0 },
  { title: 'with a hostPort', hasHostPort: true, goal: 'faster', mostRatio: 0.99 },
] as const
const QUANTILES = [
  { title: 'p50', share: 0.5 },
  { title: 'p99', share: 0.99 },
] as const

/** The table of one run, in Markdown: both networks beside each other, and whether the goals are reached. */
export function podsSection({ startedAt, machine, loadAtStart, loadAtEnd, samples }: PodsRun): string {
  const rows = KINDS.flatMap(({ title, hasHostPort, goal, mostRatio }) =>
    QUANTILES.flatMap(({ title: which, share }) => {
      const [tulle, reference] = (['tulle', 'reference'] as const).map(network =>
        samples.filter(sample => sample.network === network && sample.hasHostPort === hasHostPort),
      )
      if (tulle === undefined || reference === undefined || tulle.length === 0 || reference.length === 0) return []
      const [own, theirs] = [tulle, reference].map(list =>
        quantile(
          list.map(({ readyMs }) => readyMs),
          share,
        ),
      )
      if (own === undefined || theirs === undefined) return []
      const ratio = own / theirs
      const verdict = `${goal}: ${Number(ratio.toFixed(2)) <= mostRatio ? 'reached' : 'missed'}`
      return [[`${title}, ${which}`, `${shown(own)} ms`, `${shown(theirs)} ms`, `${shownRatio(ratio)} ×`, verdict]]
    }),
  )
  const pods = samples.filter(({ network, hasHostPort }) => network === 'tulle' && !hasHostPort).length
  return [
    `${startedAt.slice(0, 16).replace('T', ' ')} UTC. ${machine.cores} × ${machine.cpu}, Linux ${machine.kernel}; load (one minute) at the start ${shown(loadAtStart)}, at the end ${shown(loadAtEnd)}. ${pods} pods of each kind on each cluster, one at a time.`,
    // The load at the end is that of the clusters themselves.
    ...doubts({ loads: [loadAtStart], cores: machine.cores, pods }),
    '',
    markdownTable([['create → Ready', 'tulle', 'reference', 'ratio', 'goal'], ...rows]),
  ].join('\n')
}

import { renderBarChart, type Bar, type BarGroup } from './bar-chart.ts'
import { CHAINS, FLOOR, SERVED, TULLE_BRIDGE, type ContenderName } from './contenders.ts'
import { shown, shownMs } from './numbers.ts'
import type { AttachRun, Sample } from './samples.ts'
import { summaryOf, trafficOf } from './select.ts'

/** A drawing, and the name of its file without the ending. */
export interface Chart {
  readonly name: string
  readonly svg: string
}

const KINDS = [
  { title: 'ADD', verb: 'ADD', hasPort: false },
  { title: 'ADD with a hostPort', verb: 'ADD', hasPort: true },
  { title: 'DEL', verb: 'DEL', hasPort: false },
  { title: 'DEL with a hostPort', verb: 'DEL', hasPort: true },
] as const

/** The charts of one run: what it has no samples of is left out. */
export function attachCharts({ samples }: AttachRun): readonly Chart[] {
  const many = Math.max(0, ...samples.map(each => (each.kind === 'calls' ? each.atOnce : 0)))
  return [
    chart('one-pod', 'One pod: wall time, median and 99th percentile', 'ms', onePod(samples)),
    chart('at-once', `${many} pods at once: from the first start to the last end`, 'ms', atOnce(samples, many)),
    chart('traffic', 'From pod to pod on one node', '', traffic(samples)),
  ]
}

function chart(name: string, title: string, unit: string, groups: readonly BarGroup[]): Chart {
  return { name, svg: renderBarChart({ title, unit, groups: groups.filter(({ bars }) => bars.length > 0) }) }
}

function onePod(samples: readonly Sample[]): readonly BarGroup[] {
  const names: readonly ContenderName[] = [...CHAINS, FLOOR]
  return KINDS.map(({ title, verb, hasPort }) => ({
    title,
    bars: names.flatMap((contender): readonly Bar[] => {
      const summary = summaryOf(samples, { contender, verb, hasPort })
      if (summary === undefined) return []
      const { p50Ms, p99Ms } = summary
      const text = `${shown(p50Ms)} (${shown(p99Ms)})`
      return [{ label: contender, value: p50Ms, upTo: p99Ms, text, colour: colourOf(contender) }]
    }),
  }))
}

function atOnce(samples: readonly Sample[], many: number): readonly BarGroup[] {
  return KINDS.map(({ title, verb, hasPort }) => ({
    title,
    bars: CHAINS.flatMap((contender): readonly Bar[] => {
      const summary = many < 2 ? undefined : summaryOf(samples, { contender, verb, hasPort, atOnce: many })
      if (summary === undefined) return []
      const { wholeMs, failed } = summary
      const text = `${shownMs(wholeMs)}${failed === 0 ? '' : `, ${failed} failed`}`
      return [{ label: contender, value: wholeMs, text, colour: colourOf(contender) }]
    }),
  }))
}

function traffic(samples: readonly Sample[]): readonly BarGroup[] {
  const names: readonly ContenderName[] = [SERVED, TULLE_BRIDGE, ...CHAINS.slice(2)]
  const groups = [
    ['Throughput, Gbit/s', 'gigabitPerSecond'],
    ['Round trips a second', 'roundTripsPerSecond'],
  ] as const
  return groups.map(([title, key]) => ({
    title,
    bars: names.flatMap((name): readonly Bar[] => {
      const found = trafficOf(samples, name)
      if (found === undefined) return []
      const label = name === SERVED ? 'tulle, routed' : name
      return [{ label, value: found[key], text: shown(found[key]), colour: colourOf(name) }]
    }),
  }))
}

function colourOf(name: ContenderName): number {
  const index = CHAINS.findIndex(each => each === name)
  if (index !== -1) return index
  return name === TULLE_BRIDGE ? 1 : CHAINS.length
}

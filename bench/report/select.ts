import type { ContenderName } from './contenders.ts'
import type { Sample, Series, Verb } from './samples.ts'
import { mean, quantile, sum } from './statistics.ts'

/** One kind of calls of one contender. */
export interface Kind {
  readonly contender: ContenderName
  readonly verb: Verb
  readonly hasPort: boolean
  /** 1 when absent. */
  readonly atOnce?: number
  /** 0 when absent. */
  readonly standing?: number
}

/** What all series of one kind say together. Milliseconds. */
export interface Summary {
  readonly count: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** For each pod: of the whole process tree, and its share of what ipamd used. */
  readonly cpuMs: number
  /** From the first start to the last end: the median of the series. */
  readonly wholeMs: number
  readonly failed: number
}

export function seriesOf(samples: readonly Sample[], kind: Kind): readonly Series[] {
  const { contender, verb, hasPort, atOnce = 1, standing = 0 } = kind
  return samples.filter(
    sample =>
      sample.kind === 'calls' &&
      sample.contender === contender &&
      sample.verb === verb &&
      sample.hasPort === hasPort &&
      sample.atOnce === atOnce &&
      sample.standing === standing,
  ) as readonly Series[] // sample.kind is 'calls'
}

/** Undefined: it was not measured. */
export function summaryOf(samples: readonly Sample[], kind: Kind): Summary | undefined {
  const series = seriesOf(samples, kind)
  const wallMs = series.flatMap(each => each.wallMs)
  if (wallMs.length === 0) return undefined
  const cpuMs = sum(series.map(each => sum(each.cpuMs) + each.daemonCpuMs)) / wallMs.length
  return {
    count: wallMs.length,
    p50Ms: quantile(wallMs, 0.5),
    p99Ms: quantile(wallMs, 0.99),
    cpuMs,
    wholeMs: quantile(
      series.map(each => each.wholeMs),
      0.5,
    ),
    failed: sum(series.map(each => each.failed)),
  }
}

/** What was measured of traffic, medians of the rounds. */
export function trafficOf(samples: readonly Sample[], contender: ContenderName) {
  const rounds = samples.filter(sample => sample.kind === 'traffic' && sample.contender === contender)
  const median = (key: 'gigabitPerSecond' | 'roundTripsPerSecond' | 'p50Us' | 'p99Us'): number =>
    quantile(
      rounds.flatMap(round => (round.kind === 'traffic' ? [round[key]] : [])),
      0.5,
    )
  if (rounds.length === 0) return undefined
  return {
    rounds: rounds.length,
    gigabitPerSecond: median('gigabitPerSecond'),
    roundTripsPerSecond: median('roundTripsPerSecond'),
    p50Us: median('p50Us'),
    p99Us: median('p99Us'),
  }
}

/** What ipamd held with so many pods, in KiB. */
export function memoryOf(samples: readonly Sample[], pods: number) {
  const found = samples.flatMap(sample => (sample.kind === 'memory' && sample.pods === pods ? [sample] : []))
  if (found.length === 0) return undefined
  return {
    residentKib: mean(found.map(each => each.residentKib)),
    proportionalKib: mean(found.map(each => each.proportionalKib)),
  }
}

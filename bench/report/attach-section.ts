import { CHAINS, FLOOR, SERVED, TRUE, TULLE_BRIDGE, type ContenderName } from './contenders.ts'
import { doubts } from './doubts.ts'
import { goalsOf } from './goals.ts'
import { shown, shownMib, shownMs } from './numbers.ts'
import type { AttachRun, Sample, Verb } from './samples.ts'
import { memoryOf, seriesOf, summaryOf, trafficOf, type Summary } from './select.ts'
import { markdownTable } from './table.ts'

const KINDS = [
  { title: 'ADD', verb: 'ADD', hasPort: false },
  { title: 'ADD, hostPort', verb: 'ADD', hasPort: true },
  { title: 'DEL', verb: 'DEL', hasPort: false },
  { title: 'DEL, hostPort', verb: 'DEL', hasPort: true },
  { title: 'CHECK', verb: 'CHECK', hasPort: false },
  { title: 'CHECK, hostPort', verb: 'CHECK', hasPort: true },
  { title: 'STATUS', verb: 'STATUS', hasPort: false },
] as const

/** The part of docs/performance.md that one run makes, in Markdown. */
export function attachSection(run: AttachRun): string {
  const { samples } = run
  return [
    preface(run),
    '### Goals',
    'Medians of Tulle divided by those of the kindnet chain, from the same run.',
    markdownTable([
      ['work', 'goal', 'measured', ''],
      ...goalsOf(samples).map(({ work, goal, measured, verdict }) => [work, goal, measured, verdict]),
    ]),
    '### One pod',
    '![ADD and DEL of one pod](performance/one-pod.svg)',
    'Wall time in milliseconds, p50 (p99):',
    kindsTable(samples, ({ p50Ms, p99Ms }) => `${shown(p50Ms)} (${shown(p99Ms)})`),
    'Processor time in milliseconds, mean, of the whole process tree and of ipamd:',
    kindsTable(samples, ({ cpuMs }) => shown(cpuMs)),
    ...crowds(samples),
    ...standing(samples),
    ...traffic(samples),
    ...memory(samples),
    ...troubles(run),
  ].join('\n\n')
}

function preface({ startedAt, endedAt, machine, loadAtStart, loadAtEnd, versions, options }: AttachRun): string {
  const minutes = (Date.parse(endedAt) - Date.parse(startedAt)) / 60_000
  return [
    `${startedAt.slice(0, 16).replace('T', ' ')} UTC, ${shown(minutes)} minutes. ${machine.cores} × ${machine.cpu}, ${shown(machine.memoryMiB / 1024)} GiB, Linux ${machine.kernel}, Node ${machine.node};`,
    `load (one minute) at the start ${loadAtStart.map(shown).join(', ')}, at the end, by the bench's own crowds, ${shown(loadAtEnd)}. ${options.pods} single pods of each kind, after ${options.warmUpPods} that are not counted. Peers: ${versions.join('; ')}.`,
    // The load at the end is this bench's own: a hundred pods at once come before it.
    ...doubts({ loads: loadAtStart, cores: machine.cores, pods: options.pods }),
  ].join('\n')
}

function kindsTable(samples: readonly Sample[], cellOf: (summary: Summary) => string): string {
  const names: readonly ContenderName[] = [...CHAINS, FLOOR]
  const nothing = summaryOf(samples, { contender: TRUE, verb: 'STATUS', hasPort: false })
  const rows = KINDS.map(({ title, verb, hasPort }) => [
    title,
    ...names.map(contender => {
      const summary = summaryOf(samples, { contender, verb, hasPort })
      return summary === undefined ? '' : `${cellOf(summary)}${failures(summary)}`
    }),
  ])
  if (nothing !== undefined) rows.push([TRUE, cellOf(nothing), ...names.slice(1).map(() => '')])
  return markdownTable([['', ...names], ...rows])
}

function failures({ failed, count }: Summary): string {
  return failed === 0 ? '' : `, ${failed} of ${count} failed`
}

function crowds(samples: readonly Sample[]): readonly string[] {
  const sizes = distinct(samples.flatMap(each => (each.kind === 'calls' && each.atOnce > 1 ? [each.atOnce] : [])))
  if (sizes.length === 0) return []
  const rows = sizes.flatMap(atOnce =>
    KINDS.slice(0, 4).map(({ title, verb, hasPort }) => [
      `${atOnce} × ${title}`,
      ...CHAINS.map(contender => {
        const summary = summaryOf(samples, { contender, verb, hasPort, atOnce })
        if (summary === undefined) return ''
        return `${shownMs(summary.wholeMs)} / ${shown(summary.cpuMs)}${failures(summary)}`
      }),
    ]),
  )
  return [
    '### Many at once',
    '![Many at once](performance/at-once.svg)',
    'From the first start to the last end, milliseconds (median of the rounds) / processor time for each pod:',
    markdownTable([['', ...CHAINS], ...rows]),
  ]
}

function standing(samples: readonly Sample[]): readonly string[] {
  const numbers = distinct(samples.flatMap(each => (each.kind === 'calls' ? [each.standing] : [])))
  if (numbers.length < 2) return []
  const rows = KINDS.slice(0, 4).flatMap(({ title, verb, hasPort }) =>
    numbers.map(pods => [
      `${title}, ${pods} pods there`,
      ...CHAINS.map(contender => {
        const summary = summaryOf(samples, { contender, verb, hasPort, standing: pods })
        return summary === undefined ? '' : `${shown(summary.p50Ms)} / ${shown(summary.cpuMs)}`
      }),
    ]),
  )
  return [
    '### On a node with pods',
    'Wall time, p50 / processor time, mean, of one pod more, in milliseconds:',
    markdownTable([['', ...CHAINS], ...rows]),
  ]
}

function traffic(samples: readonly Sample[]): readonly string[] {
  const names: readonly ContenderName[] = [SERVED, TULLE_BRIDGE, ...CHAINS.slice(2)]
  const rows = names.flatMap(name => {
    const found = trafficOf(samples, name)
    if (found === undefined) return []
    const { gigabitPerSecond, roundTripsPerSecond, p50Us, p99Us } = found
    const title = name === SERVED ? 'tulle, routed' : name
    return [[title, ...[gigabitPerSecond, roundTripsPerSecond, p50Us, p99Us].map(shown)]]
  })
  if (rows.length === 0) return []
  return [
    '### From pod to pod on one node',
    '![Throughput and round trips](performance/traffic.svg)',
    'TCP, medians of the rounds: throughput of one connection (iperf3), and one byte there and back.',
    markdownTable([['', 'Gbit/s', 'round trips a second', 'p50 µs', 'p99 µs'], ...rows]),
  ]
}

function memory(samples: readonly Sample[]): readonly string[] {
  const numbers = distinct(samples.flatMap(each => (each.kind === 'memory' ? [each.pods] : [])))
  const rows = numbers.flatMap(pods => {
    const found = memoryOf(samples, pods)
    return found === undefined
      ? []
      : [[`ipamd, ${pods} pods`, shownMib(found.residentKib), shownMib(found.proportionalKib)]]
  })
  const plugins = CHAINS.flatMap(contender => {
    const peak = Math.max(
      0,
      ...(['ADD', 'DEL'] satisfies Verb[]).flatMap(verb =>
        seriesOf(samples, { contender, verb, hasPort: true }).map(({ residentKib }) => residentKib),
      ),
    )
    return peak === 0 ? [] : [[`largest process of a call, ${contender}`, shownMib(peak), '']]
  })
  if (rows.length === 0) return []
  return ['### Memory', markdownTable([['', 'resident', 'proportional'], ...rows, ...plugins])]
}

function troubles({ samples, skipped }: AttachRun): readonly string[] {
  const failed = samples.flatMap(each =>
    each.kind === 'trouble' ? [`- ${each.step}: ${firstLine(each.message)}`] : [],
  )
  const late = skipped.length === 0 ? [] : [`- no time was left for: ${skipped.join(', ')}`]
  return failed.length + late.length === 0 ? [] : ['### What could not be measured', [...failed, ...late].join('\n')]
}

function firstLine(text: string): string {
  return text.split('\n')[0]?.slice(0, 300) ?? ''
}

function distinct(values: readonly number[]): readonly number[] {
  return [...new Set(values)].toSorted((a, b) => a - b)
}

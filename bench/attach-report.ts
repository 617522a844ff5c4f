import { readFileSync, writeFileSync } from 'node:fs'
import { quantile } from './statistics.ts'

/** One measurement: of one pod, or of many at once from the first's start to the last's end. */
export interface Sample {
  readonly contender: string
  readonly verb: 'ADD' | 'CHECK' | 'DEL' | 'STATUS'
  readonly hasPort: boolean
  readonly atOnce: number
  readonly wallMs: number
  readonly cpuMs: number
  /** Of many at once: how many did not succeed. */
  readonly failed?: number
}

/** What one run of the bench has found, and where. */
export interface AttachRun {
  readonly date: string
  readonly machine: { readonly cpu: string; readonly cores: number; readonly kernel: string; readonly loadavg: string }
  readonly pods: number
  readonly atOnce: number
  readonly samples: readonly Sample[]
}

const BEGIN = '<!-- measured: npm run bench -->'
const END = '<!-- end of what npm run bench measured -->'

/** The run as Markdown: medians for single pods, the whole for many at once. */
export function renderAttachTable({ date, machine, pods, atOnce, samples }: AttachRun): string {
  const names = [...new Set(samples.map(({ contender }) => contender))]
  const kinds = [
    { title: 'ADD', verb: 'ADD', hasPort: false, atOnce: 1 },
    { title: 'ADD, hostPort', verb: 'ADD', hasPort: true, atOnce: 1 },
    { title: 'DEL', verb: 'DEL', hasPort: false, atOnce: 1 },
    { title: 'DEL, hostPort', verb: 'DEL', hasPort: true, atOnce: 1 },
    { title: 'CHECK', verb: 'CHECK', hasPort: false, atOnce: 1 },
    { title: 'STATUS', verb: 'STATUS', hasPort: false, atOnce: 1 },
    { title: `${atOnce} ADDs`, verb: 'ADD', hasPort: false, atOnce },
    { title: `${atOnce} ADDs, hostPort`, verb: 'ADD', hasPort: true, atOnce },
    { title: `${atOnce} DELs`, verb: 'DEL', hasPort: false, atOnce },
    { title: `${atOnce} DELs, hostPort`, verb: 'DEL', hasPort: true, atOnce },
  ] as const
  const rows = kinds.map(kind => {
    const cells = names.map(name => {
      const own = samples.filter(
        each =>
          each.contender === name &&
          each.verb === kind.verb &&
          each.hasPort === kind.hasPort &&
          each.atOnce === kind.atOnce,
      )
      return own.length === 0 ? 'has none' : cellOf(own)
    })
    return `| ${kind.title} | ${cells.join(' | ')} |`
  })
  return [
    `${date.slice(0, 10)}, ${machine.cores} × ${machine.cpu}, Linux ${machine.kernel}, load at the end ${machine.loadavg.split(' ')[0]}. ${pods} single pods of each kind,`,
    'taking turns: median of the wall time / mean of the CPU time of the whole process tree and of ipamd. Many at once: one sample, from the first start to the last end. Milliseconds.',
    '',
    `| | ${names.join(' | ')} |`,
    `|---|${names.map(() => '---|').join('')}`,
    ...rows,
  ].join('\n')
}

function cellOf(samples: readonly Sample[]): string {
  const wallMs = quantile(
    samples.map(each => each.wallMs),
    0.5,
  )
  const cpuMs = samples.reduce((sum, each) => sum + each.cpuMs, 0) / samples.length
  const failed = samples.reduce((sum, each) => sum + (each.failed ?? 0), 0)
  return `${shown(wallMs)} / ${shown(cpuMs)}${failed === 0 ? '' : ` (${failed} failed)`}`
}

function shown(ms: number): string {
  return ms < 100 ? ms.toFixed(1) : Math.round(ms).toLocaleString('en-US')
}

/** Puts `text` into the page, in place of what an earlier run has put there. @throws {Error} when the page has no place for it. */
export function writeInto(page: string, text: string): void {
  const before = readFileSync(page, 'utf8')
  const [begin, end] = [before.indexOf(BEGIN), before.indexOf(END)]
  if (begin === -1 || end < begin) throw new Error(`${page} has no place for the table: want ${BEGIN} and ${END}`)
  writeFileSync(page, `${before.slice(0, begin + BEGIN.length)}\n\n${text}\n\n${before.slice(end)}`)
}

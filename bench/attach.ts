/**
 * Measures the plugin beside its peers, in one run: `npm run bench`. What is measured, and how: docs/performance.md.
 *
 * Each contender has a node of its own, and they take turns. A run that is stopped goes on where it was when it is started
 * again; it ends in time, whatever hangs. Raw samples go to bench/results/attach.json; from these come the table in
 * docs/performance.md and the charts beside it, which `npm run bench -- --render` makes again without measuring.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openContenders, VERSIONS } from './attach/contenders.ts'
import { fingerprint, Journal } from './attach/journal.ts'
import { Nodes } from './attach/nodes.ts'
import { unpackIperf3 } from './attach/traffic.ts'
import { turnsOf, type Sizes } from './attach/turns.ts'
import { describeMachine } from './machine.ts'
import { attachCharts } from './report/attach-charts.ts'
import { attachSection } from './report/attach-section.ts'
import type { AttachRun } from './report/samples.ts'
import { DOCS, writeSection } from './write-section.ts'

const ROOT = join(import.meta.dirname, '..')
const RESULT = join(import.meta.dirname, 'results', 'attach.json')
const JOURNAL = join(ROOT, '.cache', 'bench', 'attach.jsonl')

const { values } = parseArgs({
  options: {
    pods: { type: 'string', default: '40' },
    'warm-up': { type: 'string', default: '25' },
    'per-turn': { type: 'string', default: '5' },
    crowds: { type: 'string', default: '10,100,250' },
    standing: { type: 'string', default: '100,250' },
    'traffic-rounds': { type: 'string', default: '3' },
    'traffic-seconds': { type: 'string', default: '2' },
    minutes: { type: 'string', default: '17' },
    fresh: { type: 'boolean', default: false },
    render: { type: 'boolean', default: false },
  },
})
const sizes: Sizes = {
  pods: Number(values.pods),
  warmUpPods: Number(values['warm-up']),
  perTurn: Number(values['per-turn']),
  crowds: numbersIn(values.crowds),
  standing: numbersIn(values.standing),
  trafficRounds: Number(values['traffic-rounds']),
  trafficSeconds: Number(values['traffic-seconds']),
}
if (!values.render) await measure(performance.now() + Number(values.minutes) * 60_000)
render()

async function measure(untilMs: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'tulle-bench-'))
  const nodes = new Nodes({ folder, contenders: await openContenders(folder), warmUpPods: sizes.warmUpPods, say })
  const journal = Journal.open(JOURNAL, fingerprint(sizes), values.fresh)
  const skipped: string[] = []
  try {
    const turns = turnsOf(sizes, await unpackIperf3())
    if (journal.turns > 0) say(`goes on after ${journal.turns} of ${turns.length} turns`)
    for (const [index, turn] of turns.entries()) {
      if (journal.has(turn.key)) continue
      if (performance.now() > untilMs) skipped.push(turn.key)
      else {
        say(`${index + 1} of ${turns.length}: ${turn.key}`)
        journal.add(turn.key, await nodes.take(turn, untilMs))
      }
    }
  } finally {
    await nodes[Symbol.asyncDispose]()
    rmSync(folder, { recursive: true })
  }
  const run: AttachRun = {
    format: 'bench-attach/2',
    startedAt: journal.startedAt,
    endedAt: new Date().toISOString(),
    machine: describeMachine(),
    loadAtStart: journal.loads,
    loadAtEnd: loadavg()[0] ?? 0,
    versions: VERSIONS,
    options: sizes,
    skipped,
    samples: journal.samples,
  }
  mkdirSync(join(RESULT, '..'), { recursive: true })
  writeFileSync(RESULT, renderRun(run))
  journal.close()
}

function render(): void {
  const run = JSON.parse(readFileSync(RESULT, 'utf8')) as AttachRun
  const folder = join(DOCS, 'performance')
  mkdirSync(folder, { recursive: true })
  for (const { name, svg } of attachCharts(run)) writeFileSync(join(folder, `${name}.svg`), svg)
  const section = attachSection(run)
  process.stdout.write(`${section}\n`)
  writeSection('npm run bench', section)
}

/** A sample on a line, so that runs can be compared line by line. */
function renderRun({ samples, ...run }: AttachRun): string {
  const head = JSON.stringify(run, undefined, 1).replace(/\n\}$/, ',\n "samples": [\n')
  return `${head}${samples.map(sample => `  ${JSON.stringify(sample)}`).join(',\n')}\n ]\n}\n`
}

function numbersIn(list: string): readonly number[] {
  return list === '' ? [] : list.split(',').map(Number)
}

function say(line: string): void {
  process.stderr.write(`bench: ${line}\n`)
}

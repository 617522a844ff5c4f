import t from 'tap'
import { attachCharts } from './attach-charts.ts'
import { attachSection } from './attach-section.ts'
import { CHAINS, FLOOR, PEER, SERVED, TRUE } from './contenders.ts'
import { runOf, series } from './fake-samples.ts'
import type { Sample } from './samples.ts'

const SAMPLES: readonly Sample[] = [
  ...CHAINS.map((contender, index) => series({ contender, verb: 'ADD', wallMs: [index + 1, 10 * (index + 1)] })),
  series({ contender: FLOOR, verb: 'ADD', wallMs: [0.25], cpuMs: [0.125] }),
  series({ contender: TRUE, verb: 'STATUS', wallMs: [0.5] }),
  series({ contender: SERVED, verb: 'ADD', atOnce: 100, wholeMs: 200, failed: 2, failure: 'x' }),
  series({ contender: SERVED, verb: 'ADD', standing: 250, wallMs: [7] }),
  { kind: 'traffic', contender: PEER, gigabitPerSecond: 12.34, roundTripsPerSecond: 40_000, p50Us: 20, p99Us: 50 },
  { kind: 'memory', pods: 250, residentKib: 80 * 1024, proportionalKib: 70 * 1024 },
]
const rowOf = (page: string, title: string) => page.split('\n').find(line => line.startsWith(`| ${title} |`))

t.test('attachSection() says where and when, with the load', async t => {
  const page = attachSection(runOf(SAMPLES, { loadAtStart: [0.1, 3] }))
  t.match(page, '2026-11-25 20:00 UTC, 12.0 minutes. 2 × Some CPU, 4.00 GiB, Linux 6.18, Node v26.10.0;')
  t.match(page, "at the start 0.10, 3.00, at the end, by the bench's own crowds, 1.50")
  t.notMatch(page, /busy|So few/)
  t.notMatch(attachSection(runOf(SAMPLES, { loadAtEnd: 60 })), /busy/, 'its own crowds are no other work')
})

t.test('attachSection() warns of figures from a busy machine, and of few samples', async t => {
  const page = attachSection(runOf(SAMPLES, { loadAtStart: [0.1, 9], options: { pods: 3, warmUpPods: 1 } }))
  t.match(page, /machine was busy/)
  t.match(page, /So few samples/)
})

t.test('attachSection() has a cell for each contender, and an empty one for what was not measured', async t => {
  const page = attachSection(runOf(SAMPLES))
  const cells = '1.00 (10.0) | 2.00 (20.0) | 3.00 (30.0) | 4.00 (40.0) | 5.00 (50.0) | 0.25 (0.25)'
  t.equal(rowOf(page, 'ADD'), `| ADD | ${cells} |`)
  t.equal(rowOf(page, 'DEL'), '| DEL |  |  |  |  |  |  |')
  t.equal(rowOf(page, 'executing true'), '| executing true | 0.50 (0.50) |  |  |  |  |  |')
})

t.test('attachSection() tells of failures, of crowds, of full nodes, of traffic and of memory', async t => {
  const page = attachSection(runOf(SAMPLES))
  t.match(rowOf(page, '100 × ADD'), '| 200 / 0.00, 2 of 1 failed |')
  t.match(rowOf(page, 'ADD, 250 pods there'), '| 7.00 / 0.00 |')
  t.equal(rowOf(page, PEER), `| ${PEER} | 12.3 | 40,000 | 20.0 | 50.0 |`)
  t.equal(rowOf(page, 'ipamd, 250 pods'), '| ipamd, 250 pods | 80.0 MiB | 70.0 MiB |')
})

t.test('attachSection() hides nothing that could not be measured', async t => {
  t.notMatch(attachSection(runOf(SAMPLES)), /could not be measured/)
  const trouble = { kind: 'trouble', step: 'crowd/250/port/0/x', message: 'no answer\nat line 1' } as const
  const page = attachSection(runOf([...SAMPLES, trouble], { skipped: ['standing/250/0/y'] }))
  t.match(page, '- crowd/250/port/0/x: no answer\n- no time was left for: standing/250/0/y')
})

t.test('attachSection() leaves out what a short run has not looked at', async t => {
  const page = attachSection(runOf([series({ contender: SERVED, verb: 'ADD' })]))
  for (const title of ['### Many at once', '### On a node with pods', '### From pod to pod', '### Memory'])
    t.notMatch(page, title)
})

t.test('attachCharts() draws what the run has, under the names that the page uses', async t => {
  const charts = attachCharts(runOf(SAMPLES))
  const page = attachSection(runOf(SAMPLES))
  for (const { name, svg } of charts) {
    t.match(page, `](performance/${name}.svg)`)
    t.match(svg, /^<svg /)
  }
  t.match(charts[0]?.svg, />tulle, served</)
  t.match(charts[1]?.svg, />100 pods at once/)
  t.notMatch(charts[1]?.svg, />DEL</, 'no group without a bar')
})

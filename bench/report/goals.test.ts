import t from 'tap'
import { DIRECT, PEER, SERVED, TRUE, type ContenderName } from './contenders.ts'
import { series } from './fake-samples.ts'
import { goalsOf } from './goals.ts'
import type { Sample, Series } from './samples.ts'

/** One sample of Tulle and one of the peer. */
function pair(own: number, peer: number, more: Partial<Series> & Pick<Series, 'verb'>, by: ContenderName = SERVED) {
  const sample = (contender: ContenderName, wallMs: number) =>
    series({ contender, ...more, wallMs: [wallMs], cpuMs: [wallMs], wholeMs: wallMs })
  return [sample(by, own), sample(PEER, peer)]
}

function verdictOf(samples: readonly Sample[], work: string): string {
  const goal = goalsOf(samples).find(each => each.work === work)
  return goal === undefined ? `no goal ${work}` : `${goal.verdict} ${goal.measured}`.trim()
}

const cases = [
  ['ADD, served', pair(1.6, 10, { verb: 'ADD' }), 'reached 0.16 × (1.60 / 10.0 ms)'],
  ['ADD, served', pair(1.7, 10, { verb: 'ADD' }), 'missed 0.17 × (1.70 / 10.0 ms)'],
  ['DEL with a hostPort, served', pair(4, 100, { verb: 'DEL', hasPort: true }), 'reached 0.040 × (4.00 / 100 ms)'],
  ['100 ADDs at once', pair(150, 1000, { verb: 'ADD', atOnce: 100 }), 'reached 0.15 × (150 / 1,000 ms)'],
  ['ADD, direct', pair(23, 10, { verb: 'ADD' }, DIRECT), 'missed 2.30 × (23.0 / 10.0 ms)'],
  [
    'processor time of an ADD, whole process tree and ipamd',
    pair(1, 10, { verb: 'ADD' }),
    'reached 0.10 × (1.00 / 10.0 ms)',
  ],
  ['250 DELs at once', [], 'not measured'],
] as const
for (const [work, samples, want] of cases)
  t.test(`goalsOf() says of ${work}: ${want}`, async t => t.equal(verdictOf(samples, work), want))

t.test('goalsOf() does not call a crowd done of which one failed', async t => {
  const samples = pair(1, 1000, { verb: 'ADD', atOnce: 250 })
  const [own, peer] = samples
  if (own === undefined || peer === undefined) throw new Error('want two samples')
  t.match(verdictOf([{ ...own, failed: 1 }, peer], '250 ADDs at once'), /^missed .*1 failed/)
  t.match(verdictOf([own, { ...peer, failed: 7 }], '250 ADDs at once'), /^reached .*of the peer 7 failed/)
})

t.test('goalsOf() holds STATUS against executing a program that does nothing', async t => {
  const status = (own: number) => [
    series({ contender: SERVED, verb: 'STATUS', wallMs: [own] }),
    series({ contender: TRUE, verb: 'STATUS', wallMs: [0.5] }),
  ]
  t.equal(verdictOf(status(1.5), 'STATUS, served'), 'reached 1.00 ms more (1.50 − 0.50 ms)')
  t.equal(verdictOf(status(1.6), 'STATUS, served'), 'missed 1.10 ms more (1.60 − 0.50 ms)')
})

t.test('goalsOf() wants at least the traffic of ptp, to the hundredth', async t => {
  const traffic = (contender: ContenderName, gigabitPerSecond: number) =>
    ({ kind: 'traffic', contender, gigabitPerSecond, roundTripsPerSecond: 1, p50Us: 1, p99Us: 1 }) as const
  const work = 'throughput from pod to pod on one node'
  t.match(verdictOf([traffic(SERVED, 9.96), traffic(PEER, 10)], work), /^reached 1\.00/)
  t.match(verdictOf([traffic(SERVED, 9.9), traffic(PEER, 10)], work), /^missed 0\.99/)
})

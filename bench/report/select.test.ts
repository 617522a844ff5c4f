import t from 'tap'
import { DIRECT, PEER, SERVED } from './contenders.ts'
import { series } from './fake-samples.ts'
import { memoryOf, summaryOf, trafficOf } from './select.ts'

t.test('summaryOf() takes every series of the kind, and of no other', async t => {
  const samples = [
    series({ contender: SERVED, verb: 'ADD', wallMs: [1, 2] }),
    series({ contender: SERVED, verb: 'ADD', wallMs: [3, 9] }),
    series({ contender: SERVED, verb: 'ADD', hasPort: true, wallMs: [100] }),
    series({ contender: SERVED, verb: 'ADD', standing: 100, wallMs: [100] }),
    series({ contender: SERVED, verb: 'ADD', atOnce: 10, wallMs: [100] }),
    series({ contender: SERVED, verb: 'DEL', wallMs: [100] }),
    series({ contender: DIRECT, verb: 'ADD', wallMs: [100] }),
  ]
  const summary = summaryOf(samples, { contender: SERVED, verb: 'ADD', hasPort: false })
  t.match(summary, { count: 4, p50Ms: 2, p99Ms: 9 })
  t.equal(summaryOf(samples, { contender: PEER, verb: 'ADD', hasPort: false }), undefined)
})

t.test('summaryOf() shares what the daemon used among the pods', async t => {
  const sample = series({ contender: SERVED, verb: 'ADD', wallMs: [1, 1], cpuMs: [0.5, 0.7], daemonCpuMs: 2 })
  const summary = summaryOf([sample], { contender: SERVED, verb: 'ADD', hasPort: false })
  t.equal(summary?.cpuMs.toFixed(3), '1.600')
})

t.test('summaryOf() adds up failures and takes the median of whole crowds', async t => {
  const crowd = (wholeMs: number, failed: number) =>
    series({ contender: PEER, verb: 'DEL', atOnce: 100, wholeMs, failed, failure: 'x' })
  const samples = [crowd(300, 1), crowd(100, 0), crowd(200, 2)]
  const summary = summaryOf(samples, { contender: PEER, verb: 'DEL', hasPort: false, atOnce: 100 })
  t.match(summary, { wholeMs: 200, failed: 3 })
})

t.test('trafficOf() is the median of the rounds; memoryOf() that of one number of pods', async t => {
  const round = (gigabitPerSecond: number) =>
    ({ kind: 'traffic', contender: PEER, gigabitPerSecond, roundTripsPerSecond: 10, p50Us: 1, p99Us: 2 }) as const
  t.match(trafficOf([round(9), round(1), round(5)], PEER), { rounds: 3, gigabitPerSecond: 5 })
  t.equal(trafficOf([round(9)], SERVED), undefined)
  const memory = [{ kind: 'memory', pods: 250, residentKib: 2048, proportionalKib: 1024 }] as const
  t.strictSame(memoryOf(memory, 250), { residentKib: 2048, proportionalKib: 1024 })
  t.equal(memoryOf(memory, 0), undefined)
})

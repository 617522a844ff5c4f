import t from 'tap'
import { crossNodeSection, type CrossNodeRun, type CrossNodeSample } from './cross-node-section.ts'
import { runOf } from './fake-samples.ts'

const sample = (by: CrossNodeSample['by'], gigabitPerSecond: number): CrossNodeSample => ({
  mode: 'vxlan',
  by,
  gigabitPerSecond,
  roundTripsPerSecond: 1000,
  p50Us: 30,
  p99Us: 60,
})

function pageOf(...samples: readonly CrossNodeSample[]): string {
  const { startedAt, endedAt, machine, loadAtEnd } = runOf([])
  const run: CrossNodeRun = { startedAt, endedAt, machine, loadAtStart: 0, loadAtEnd, seconds: 3, samples, costs: [] }
  return crossNodeSection(run)
}

t.test('crossNodeSection() compares medians, and says whether the goal is reached', async t => {
  const page = pageOf(sample('tulle', 9.8), sample('tulle', 1), sample('tulle', 20), sample('hand', 10))
  t.match(page, '| vxlan: throughput, Gbit/s | 9.80 | 10.0 | 0.98 × | reached |')
  t.match(page, '| vxlan: round trip p99, µs | 60.0 | 60.0 | 1.00 × |  |')
  t.match(pageOf(sample('tulle', 9.7), sample('hand', 10)), '| 9.70 | 10.0 | 0.97 × | missed |')
})

t.test('crossNodeSection() leaves out a way that was not measured', async t => {
  t.notMatch(pageOf(sample('tulle', 9.8), sample('hand', 10)), '| direct:')
})

t.test('crossNodeSection() warns of figures from a busy machine', async t => {
  const { startedAt, endedAt, machine } = runOf([])
  const run = { startedAt, endedAt, machine, loadAtStart: 9, loadAtEnd: 0, seconds: 3, samples: [], costs: [] }
  t.match(crossNodeSection(run), /machine was busy/)
  t.notMatch(pageOf(sample('tulle', 9.8), sample('hand', 10)), /busy/)
})

t.test('crossNodeSection() compares what a path costs the processor, by the cheapest turns', async t => {
  const { startedAt, endedAt, machine } = runOf([])
  const turns = (ns: number) => ({ roundTripNs: [ns, ns * 9, ns * 9], kibNs: [500, 900, 900] })
  const costs = [
    { mode: 'direct', by: 'tulle', ...turns(22_000) },
    { mode: 'direct', by: 'hand', ...turns(20_000) },
  ] as const
  const run = { startedAt, endedAt, machine, loadAtStart: 0, loadAtEnd: 0, seconds: 3, samples: [], costs }
  t.match(crossNodeSection(run), '| direct: processor time of a round trip, µs | 22.0 | 20.0 | 1.10 × |  |')
  t.match(crossNodeSection(run), '| direct: processor time of a KiB, ns | 500 | 500 | 1.00 × |  |')
  t.match(crossNodeSection(run), 'the tenth percentile of 3 turns')
  t.notMatch(crossNodeSection(run), '| vxlan: processor')
})

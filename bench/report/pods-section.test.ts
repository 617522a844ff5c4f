import t from 'tap'
import { runOf } from './fake-samples.ts'
import { podsSection, type PodSample } from './pods-section.ts'

function pageOf(loadAtStart: number, ...samples: readonly PodSample[]): string {
  const { startedAt, endedAt, machine, loadAtEnd } = runOf([])
  return podsSection({ startedAt, endedAt, machine, loadAtStart, loadAtEnd, samples })
}

const sample = (network: PodSample['network'], readyMs: number, hasHostPort = false): PodSample => ({
  network,
  hasHostPort,
  readyMs,
})

t.test('podsSection() compares medians and the worst, and says whether the goals are reached', async t => {
  const page = pageOf(0, sample('tulle', 900), sample('tulle', 1000), sample('tulle', 2000), sample('reference', 1000))
  t.match(page, '| without a hostPort, p50 | 1,000 ms | 1,000 ms | 1.00 × | not slower: reached |')
  t.match(page, '| without a hostPort, p99 | 2,000 ms | 1,000 ms | 2.00 × | not slower: missed |')
})

t.test('podsSection() wants pods with a hostPort to be faster', async t => {
  t.match(pageOf(0, sample('tulle', 1000, true), sample('reference', 1000, true)), '1.00 × | faster: missed |')
  t.match(pageOf(0, sample('tulle', 900, true), sample('reference', 1000, true)), '0.90 × | faster: reached |')
})

t.test('podsSection() leaves out what was not measured, and warns of a busy machine', async t => {
  t.notMatch(pageOf(0, sample('tulle', 900)), 'hostPort,')
  t.match(pageOf(9), /machine was busy/)
})

import t from 'tap'
import { agentSection, type AgentSample } from './agent-section.ts'
import { runOf } from './fake-samples.ts'

function sample(allRoutesMs: number, agentMib: number, nodes = 1000): AgentSample {
  const held = (mib: number) => ({ residentKib: mib * 2048, proportionalKib: mib * 1024, peakKib: mib * 4096 })
  return {
    mode: 'direct',
    nodes,
    pods: 250,
    allRoutesMs,
    cpuMs: 500,
    restCpuPercent: { agent: 0.5, ipamd: 0 },
    held: { agent: held(agentMib), ipamd: held(50) },
    oneMoreMs: 300,
  }
}

function pageOf(...samples: readonly AgentSample[]): string {
  const { startedAt, endedAt, machine, loadAtEnd } = runOf([])
  return agentSection({ startedAt, endedAt, machine, loadAtStart: 0, loadAtEnd, samples })
}

t.test('agentSection() has a row for each kind, with medians and both daemons', async t => {
  const page = pageOf(sample(9_000, 80), sample(1_000, 80), sample(2_000, 80), sample(7_000, 90, 5000))
  const memory = '160 MiB (80.0 MiB) | 100 MiB (50.0 MiB)'
  t.match(page, `| direct | 1,000 | 2.00 s | 0.50 s | 300 ms | ${memory} | 0.50 % | 0.00 % |`)
  t.match(page, '| direct | 5,000 | 7.00 s |')
})

t.test('agentSection() judges the memory of both daemons together, by the largest', async t => {
  t.match(pageOf(sample(1, 80), sample(1, 60)), '130 MiB, reached.')
  t.match(pageOf(sample(1, 81), sample(1, 60)), '131 MiB, missed.')
  t.match(pageOf(sample(1, 81, 5000)), 'not measured.')
})

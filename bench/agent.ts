/**
 * Measures how long an agent takes from its start until it has every route of a large cluster, what it and ipamd cost then, and
 * how soon a new node gets its route: `npm run bench:agent`. The API server is the one of the tests, in this process, over real
 * HTTP; Node objects are of a usual size. Raw data goes to bench/results/agent.json, the table to docs/performance.md; `--render`
 * makes the table again.
 */
import '../e2e/netns/harness/isolated.ts'
import { readFileSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { measureAgent } from './agent/measure-agent.ts'
import { describeMachine } from './machine.ts'
import { agentSection, type AgentRun, type AgentSample } from './report/agent-section.ts'
import { writeSection } from './write-section.ts'

const RESULT = join(import.meta.dirname, 'results', 'agent.json')
const MODES = ['direct', 'vxlan'] as const

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    nodes: { type: 'string', default: '1000,5000' },
    pods: { type: 'string', default: '250' },
    'rest-seconds': { type: 'string', default: '20' },
    render: { type: 'boolean', default: false },
  },
})
if (!values.render) await measure()
const section = agentSection(JSON.parse(readFileSync(RESULT, 'utf8')) as AgentRun)
process.stdout.write(`${section}\n`)
writeSection('npm run bench:agent', section)

async function measure(): Promise<void> {
  const startedAt = new Date().toISOString()
  const loadAtStart = loadavg()[0] ?? 0
  const samples: AgentSample[] = []
  const pods = Number(values.pods)
  const restMs = Number(values['rest-seconds']) * 1000
  for (let run = 0; run < Number(values.runs); run++) {
    for (const nodes of values.nodes.split(',').map(Number)) {
      for (const mode of MODES) {
        samples.push(await measureAgent({ mode, nodes, pods, restMs }))
        process.stderr.write(`bench: ${JSON.stringify(samples.at(-1))}\n`)
      }
    }
  }
  const run: AgentRun = {
    startedAt,
    endedAt: new Date().toISOString(),
    machine: describeMachine(),
    loadAtStart,
    loadAtEnd: loadavg()[0] ?? 0,
    samples,
  }
  writeFileSync(RESULT, `${JSON.stringify(run, undefined, 1)}\n`)
}

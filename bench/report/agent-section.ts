import { doubts } from './doubts.ts'
import { shown, shownMib } from './numbers.ts'
import type { Machine } from './samples.ts'
import { quantile } from './statistics.ts'
import { markdownTable } from './table.ts'

/** What a process held, in KiB. */
export interface HeldMemory {
  readonly residentKib: number
  readonly proportionalKib: number
  readonly peakKib: number
}

/** One start of an agent in a cluster. */
export interface AgentSample {
  readonly mode: 'direct' | 'vxlan'
  readonly nodes: number
  /** Of this node, attached after every route was there. */
  readonly pods: number
  /** From the start of the process until the kernel has every route of both families. */
  readonly allRoutesMs: number
  /** Processor time of the agent until then. */
  readonly cpuMs: number
  readonly restCpuPercent: { readonly agent: number; readonly ipamd: number }
  readonly held: { readonly agent: HeldMemory; readonly ipamd: HeldMemory }
  /** From a new Node object to its routes. */
  readonly oneMoreMs: number
}

export interface AgentRun {
  readonly startedAt: string
  readonly endedAt: string
  readonly machine: Machine
  readonly loadAtStart: number
  readonly loadAtEnd: number
  readonly samples: readonly AgentSample[]
}

const MAX_TOGETHER_MIB = 130
const GOAL_NODES = 1_000

/** The table of one run, in Markdown: medians. */
export function agentSection({ startedAt, machine, loadAtStart, loadAtEnd, samples }: AgentRun): string {
  const kinds = [...new Set(samples.map(({ mode, nodes }) => `${mode} ${nodes}`))]
  const rows = kinds.map(kind => {
    const own = samples.filter(({ mode, nodes }) => `${mode} ${nodes}` === kind)
    const median = (of: (sample: AgentSample) => number): number => quantile(own.map(of), 0.5)
    const [mode = '', nodes = ''] = kind.split(' ')
    return [
      mode,
      Number(nodes).toLocaleString('en-US'),
      `${shown(median(each => each.allRoutesMs) / 1000)} s`,
      `${shown(median(each => each.cpuMs) / 1000)} s`,
      `${shown(median(each => each.oneMoreMs))} ms`,
      ...(['agent', 'ipamd'] as const).map(daemon =>
        [
          shownMib(median(each => each.held[daemon].residentKib)),
          `(${shownMib(median(each => each.held[daemon].proportionalKib))})`,
        ].join(' '),
      ),
      ...(['agent', 'ipamd'] as const).map(daemon => `${shown(median(each => each.restCpuPercent[daemon]))} %`),
    ]
  })
  const titles = ['all routes', 'processor time until then', 'one more', 'memory of the agent', 'of ipamd']
  const pods = [...new Set(samples.map(each => each.pods))].join(', ')
  return [
    `${startedAt.slice(0, 16).replace('T', ' ')} UTC. ${machine.cores} × ${machine.cpu}, Linux ${machine.kernel}; load (one minute) at the start ${shown(loadAtStart)}, at the end ${shown(loadAtEnd)}.`,
    `Medians of ${samples.length / Math.max(1, kinds.length)} starts of each kind; then ${pods} pods. Memory is that with the pods, resident (proportional: what several processes share counts once in all); processor time at rest is that of one core.`,
    ...doubts({ loads: [loadAtStart, loadAtEnd], cores: machine.cores }),
    '',
    markdownTable([['way', 'nodes', ...titles, 'the agent at rest', 'ipamd at rest'], ...rows]),
    '',
    togetherGoal(samples),
  ].join('\n')
}

/**
 * Both daemons at the size that the goal names, by proportional memory: the sum is what the node really loses. The resident one
 * would count the pages of their executable, which both have mapped, twice.
 */
function togetherGoal(samples: readonly AgentSample[]): string {
  const together = samples
    .filter(({ nodes }) => nodes === GOAL_NODES)
    .map(({ held }) => (held.agent.proportionalKib + held.ipamd.proportionalKib) / 1024)
  const goal = `Goal: ipamd and the agent together hold at most ${MAX_TOGETHER_MIB} MiB (proportional) at ${GOAL_NODES.toLocaleString('en-US')} nodes`
  if (together.length === 0) return `${goal}: not measured.`
  const mib = Math.max(...together)
  return `${goal}: ${shown(mib)} MiB, ${mib <= MAX_TOGETHER_MIB ? 'reached' : 'missed'}.`
}

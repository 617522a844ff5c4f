import { FakeNode, POD_PATH } from '../lib/attach/fake-edges.ts'
import { handle } from '../lib/attach/handle.ts'
import type { Outcome } from '../lib/attach/plugin-run.ts'
import { LINK_GROUP } from '../lib/plan/marks.ts'
import { judgeOutcome } from './judge-outcome.ts'
import { NETNS, type PluginCase } from './plugin-case.ts'

/** A run of the engine waits for nothing: the fakes answer at once. */
const MAX_MS = 5_000

const VERBS = ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION']

/** What a case came to. */
export interface CaseReport {
  /** The verb and how it ended, for counting: `ADD done`, `CHECK 7`. */
  readonly outcome: string
  /** What is wrong; empty when nothing is. */
  readonly problems: readonly string[]
}

/**
 * Runs one case in this process, over a node in memory, and says what is wrong with it: with what it printed, with what it
 * left behind, with how long it took.
 */
export async function runPluginCase(each: PluginCase): Promise<CaseReport> {
  const node = new FakeNode()
  if (NETNS !== POD_PATH) throw new Error('the cases name another namespace than the node has')
  if (each.isAttached) await node.run('ADD')
  if (each.ipamStdout !== undefined) node.delegate.result = each.ipamStdout
  const before = linesOf(node)
  const beganAtMs = performance.now()
  const outcome = await handle({ env: each.env, readStdin: () => each.stdin }, node.edges)
  const tookMs = performance.now() - beganAtMs
  const command = each.env['CNI_COMMAND']
  const problems = [...judgeOutcome(command, outcome), ...judgeInput(each, outcome.stdout)]
  if (tookMs > MAX_MS) problems.push(`it took ${Math.round(tookMs)} ms`)
  if (node.openHandles > 0) problems.push(`${node.openHandles} handles stay open`)
  problems.push(...judgeState(command, { isDone: outcome.exitCode === 0, before, after: linesOf(node) }))
  if (command === 'ADD' && outcome.exitCode === 0) problems.push(...(await judgeDel(each, node, before)))
  return { outcome: outcomeName(command, outcome), problems }
}

function outcomeName(command = '', { exitCode, stdout }: Outcome): string {
  const verb = VERBS.includes(command) ? command : '(other)'
  const code = /"code":(\d+)/.exec(stdout)?.[1]
  return exitCode === 0 ? `${verb} done` : `${verb} ${code ?? '?'}`
}

/** What is no JSON at all is refused as that, whatever else may be wrong with it (C1). */
function judgeInput({ env, stdin }: PluginCase, stdout: string): readonly string[] {
  if (stdout === '' || isJson(stdin) || env['CNI_COMMAND'] === 'VERSION') return []
  const { code } = JSON.parse(stdout) as { code?: unknown }
  // The environment comes first.
  return code === 6 || code === 4 ? [] : [`code ${String(code)} for what is no JSON`]
}

interface States {
  readonly isDone: boolean
  readonly before: readonly string[]
  readonly after: readonly string[]
}

/** Reading verbs and refused ones change nothing; those that take away add nothing. */
function judgeState(command: string | undefined, { isDone, before, after }: States): readonly string[] {
  const added = after.filter(line => !before.includes(line))
  const removed = before.filter(line => !after.includes(line))
  if (command === 'ADD' && isDone) return removed.map(line => `ADD took away: ${line}`)
  const mayRemove = command === 'DEL' || command === 'GC'
  return [
    ...added.map(line => `${command} left behind: ${line}`),
    ...(mayRemove ? [] : removed.map(line => `${command} took away: ${line}`)),
  ]
}

/** What ADD made, DEL with the same input takes back. */
async function judgeDel(each: PluginCase, node: FakeNode, before: readonly string[]): Promise<readonly string[]> {
  const env = { ...each.env, CNI_COMMAND: 'DEL' }
  const { exitCode, stdout } = await handle({ env, readStdin: () => each.stdin }, node.edges)
  if (exitCode !== 0) return [`DEL after ADD: ${stdout}`]
  // An ADD of a second interface of the same container: its own lines are gone, and nobody else's.
  return judgeState('DEL after ADD', { isDone: true, before, after: linesOf(node) })
}

/** The state of the node but for its bridges, which ADD makes once and for all. */
function linesOf(node: FakeNode): readonly string[] {
  const bridges = node.host.links.filter(link => link.kind === 'bridge' && link.group === LINK_GROUP)
  const shown = node.render().split('\n')
  const isOfBridge = (line: string): boolean =>
    bridges.some(
      ({ name, mac }) => line.includes(`/${name}/`) || line.includes(`"name":"${name}"`) || line.includes(mac),
    )
  return shown.filter(line => !isOfBridge(line) && !/^(?:host|\/[^:]*): \[.*\]$/.test(line))
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch (failure) {
    if (failure instanceof SyntaxError) return false
    throw failure
  }
}

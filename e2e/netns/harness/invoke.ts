import { readFileSync } from 'node:fs'
import { execute } from '../../parts/command.ts'
import { type JsonObject, asObject } from './json.ts'
import type { Netns } from './namespace.ts'

/** A plugin that takes longer has hung; the slowest reference plugin needs a tenth of a second. */
const PLUGIN_TIMEOUT_MS = 30_000

/** One run of a plugin executable: all that it can see. */
export interface PluginInvocation {
  readonly executable: string
  /** The whole environment of the plugin. */
  readonly env: Readonly<Record<string, string>>
  readonly stdin: string
  /** Where the plugin runs; in the node (this process) when absent. */
  readonly netns?: Netns
  readonly timeoutMs?: number
}

/** What a plugin did. */
export interface PluginOutcome {
  /** `null` when a signal ended it. */
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
  /** The one document on stdout; absent when stdout is empty. */
  readonly json?: JsonObject
  readonly wallMs: number
}

/**
 * Runs a plugin once, as a container runtime would, and reads its stdout by the rules of the specification.
 *
 * @throws {Error} when the plugin hung, or when stdout is neither empty nor exactly one JSON object (O2, O3, invariant 5).
 */
export async function invokePlugin(invocation: PluginInvocation): Promise<PluginOutcome> {
  const { executable, env, stdin, netns } = invocation
  const startedAtMs = performance.now()
  const outcome = await execute(netns?.command([executable]) ?? [executable], {
    env,
    stdin,
    timeoutMs: invocation.timeoutMs ?? PLUGIN_TIMEOUT_MS,
  })
  const wallMs = performance.now() - startedAtMs
  const what = `${executable} ${env['CNI_COMMAND'] ?? '(no CNI_COMMAND)'}`
  if (outcome.isTimedOut)
    throw new Error(`${what}: still running after ${Math.round(wallMs)} ms; stderr: ${outcome.stderr}`)
  const { exitCode, stdout, stderr } = outcome
  const json = parseStdout(stdout, `${what}: exit code ${exitCode}, stderr ${JSON.stringify(stderr)}, stdout`)
  return { exitCode, stdout, stderr, ...(json === undefined ? {} : { json }), wallMs }
}

/**
 * CPU time, in milliseconds, of all children that have ended so far and of theirs: take it before and after a number of runs.
 * The kernel counts it in steps of 10 ms, so the number of runs should be large.
 */
export function cpuOfEndedChildrenMs(): number {
  const stat = readFileSync('/proc/self/stat', 'utf8')
  // The second field, the name, may hold spaces and parentheses; the fields after it are counted from its end.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const [userTicks, systemTicks] = [fields[13], fields[14]].map(Number)
  if (userTicks === undefined || systemTicks === undefined) throw new Error(`Cannot read /proc/self/stat: ${stat}`)
  return (userTicks + systemTicks) * 10
}

function parseStdout(stdout: string, what: string): JsonObject | undefined {
  if (stdout === '') return undefined
  try {
    return asObject(JSON.parse(stdout), what)
  } catch (cause) {
    throw new Error(`${what}: want nothing or one JSON document, got ${JSON.stringify(stdout)}`, { cause })
  }
}

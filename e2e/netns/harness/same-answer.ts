import { join } from 'node:path'
import { callDirectly } from './direct-call.ts'
import type { JsonObject } from './json.ts'
import { Netns } from './namespace.ts'
import { newAttachment } from './runtime.ts'
import { snapshotOf } from './snapshot.ts'
import { BIN_FOLDER, RUN_FOLDER } from './tulle.ts'
import type { TulleNode } from './tulle-node.ts'
import { until } from './until.ts'

/** Runs of the plugin for one container, in turn, with one input. */
export interface Scene {
  readonly verbs: readonly Verb[]
  /** Added to or replacing the configuration of a good call. */
  readonly configuration: JsonObject
  /** Added to or replacing the environment of a good call; undefined leaves it as it is. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** Whether the runs after an ADD get its result. */
  readonly keepsResult: boolean
}

export const VERBS = ['ADD', 'CHECK', 'DEL', 'GC', 'STATUS', 'VERSION'] as const
export type Verb = (typeof VERBS)[number]

/** What can be seen of one run from outside. */
export interface Answer {
  readonly verb: Verb
  readonly exitCode: number | null
  /** To the byte, but for the path of the pod's namespace. */
  readonly stdout: string
  /** What the kernel and the run folder had after an ADD that succeeded. */
  readonly state?: string
}

export interface PlayOptions {
  /** Of dist/bin. */
  readonly executable: 'tulle' | 'tulle-node'
  /** Looks at the kernel after each ADD, which takes some tenths of a second. */
  readonly looksAtState?: boolean
  /** Takes down what DEL leaves, because it is the node's. */
  readonly tidyUp?: () => Promise<void>
}

/** The container of every scene: what is derived of its name is in the answers. */
const CONTAINER_ID = 'c1'

/**
 * Plays a scene with both hosts of the engine, each on a new namespace.
 *
 * @throws {Error} with both sides, where an exit code, a byte of standard output, or what was made of the node differs.
 */
export async function playBothWays(
  node: TulleNode,
  scene: Scene,
  options: Omit<PlayOptions, 'executable'> = {},
): Promise<readonly Answer[]> {
  const served = await play(node, scene, { ...options, executable: 'tulle' })
  const direct = await play(node, scene, { ...options, executable: 'tulle-node' })
  for (const [index, answer] of served.entries()) {
    const differences = differencesOf(answer, direct[index])
    if (differences.length > 0) throw new Error([`run ${index}, ${answer.verb}:`, ...differences].join('\n'))
  }
  return served
}

function differencesOf(served: Answer, direct: Answer | undefined): readonly string[] {
  const [one, other] = [served, direct].map(linesOf)
  return [
    ...(one ?? []).filter(line => other?.includes(line) !== true).map(line => `served ${line}`),
    ...(other ?? []).filter(line => one?.includes(line) !== true).map(line => `direct ${line}`),
  ]
}

function linesOf(answer: Answer | undefined): readonly string[] {
  if (answer === undefined) return []
  const { exitCode, stdout, state = '' } = answer
  return [`exit code ${exitCode}, stdout ${JSON.stringify(stdout)}`, ...state.split('\n')]
}

/** Plays a scene on a new namespace, and takes down what it leaves. */
async function play(node: TulleNode, scene: Scene, options: PlayOptions): Promise<readonly Answer[]> {
  await using pod = await Netns.create('pod')
  const attachment = { ...newAttachment(pod), containerId: CONTAINER_ID }
  const env = Object.fromEntries(Object.entries(scene.env).filter(([, value]) => value !== undefined))
  const withoutPath = (text: string): string => text.replaceAll(pod.path, '/run/netns/pod')
  const answers: Answer[] = []
  let prevResult: JsonObject | undefined
  for (const verb of scene.verbs) {
    const outcome = await callDirectly(verb, attachment, {
      executable: join(BIN_FOLDER, options.executable),
      configuration: { ...scene.configuration, ...(prevResult && { prevResult }) },
      env,
    })
    const hasAdded = verb === 'ADD' && outcome.exitCode === 0
    if (hasAdded && scene.keepsResult) prevResult = outcome.json
    answers.push({
      verb,
      exitCode: outcome.exitCode,
      stdout: withoutPath(outcome.stdout),
      ...(hasAdded && options.looksAtState === true ? { state: withoutPath(await stateOf(node, pod)) } : {}),
    })
  }
  // Under the name of the scene's network, and whatever was wrong with the rest.
  const { name, cniVersion } = scene.configuration
  const ifName = scene.env['CNI_IFNAME'] ?? 'eth0'
  for (const containerId of [CONTAINER_ID, scene.env['CNI_CONTAINERID'] ?? CONTAINER_ID])
    await callDirectly('DEL', { ...attachment, containerId, ifName }, { configuration: { name, cniVersion } })
  await options.tidyUp?.()
  if (node.ipamd.pid === 0) throw new Error('ipamd is gone')
  return answers
}

/**
 * All that ADD made: links, addresses, routes, neighbours, rules, shapers and files, of the node and the pod. Left out is what the
 * kernel chooses and nobody uses: addresses of ifbs, numbers of shapers, and its table of local addresses, to which it adds in its own time.
 */
async function stateOf(node: TulleNode, pod: Netns): Promise<string> {
  // ipamd tells the pools' prefixes at its next turn.
  await until('the pools are known', async () => {
    const { stdout } = await node.netns.execute(['nft', 'list', 'table', 'inet', 'tulle'])
    return !stdout.includes('set pools-6 {') || stdout.includes('fd00:10:24f::/124')
  })
  const sides = [
    await snapshotOf(node.netns, { folders: [RUN_FOLDER] }),
    await node.netns.run(['tc', 'qdisc', 'show']),
    await snapshotOf(pod),
  ]
  return sides
    .join('\n')
    .split('\n')
    .filter(line => !line.includes('/spool/fallback.') && !line.includes('table local proto kernel'))
    .map(line => (line.endsWith('kind ifb up') ? line.replace(/ address \S+/, '') : line))
    .map(line => line.replace(/^(qdisc \S+) \S+:/, '$1'))
    .join('\n')
}

import { readFile, readdir, readlink } from 'node:fs/promises'
import { join } from 'node:path'
import type { Netns } from '../e2e/netns/harness/namespace.ts'
import { until } from '../e2e/netns/harness/until.ts'
import { type Link, type Route, isGiven, readNetns } from './kernel.ts'

/** How long what a plugin took away may need to be gone: the kernel takes interfaces of a deleted namespace down later. */
const SETTLE_MS = 3_000

/** All that a plugin could leave on a node, an entry each; what the kernel does by itself is not in it. */
export type NodeState = readonly string[]

/** Where a plugin keeps files, and which of them are of no attachment. */
export interface StateFiles {
  readonly folders: readonly string[]
  readonly ignored?: RegExp | undefined
}

/** Reads the state of a node. */
export async function readNodeState(node: Netns, { folders, ignored }: StateFiles): Promise<NodeState> {
  const each = await Promise.all([
    networkState(node),
    nftables(node),
    mounts(),
    processes(),
    ...folders.map(folder => files(folder, ignored)),
  ])
  return each.flat().toSorted()
}

/** What `after` has and `before` has not. An entry may be there more than once. */
export function addedSince(before: NodeState, after: NodeState): readonly string[] {
  const left = Map.groupBy(before, entry => entry)
  const counts = new Map([...left].map(([entry, all]) => [entry, all.length]))
  return after.filter(entry => {
    const count = counts.get(entry) ?? 0
    counts.set(entry, count - 1)
    return count <= 0
  })
}

/** Waits until nothing is there that was not before, and returns what stays. */
export async function leftoversSince(before: NodeState, read: () => Promise<NodeState>): Promise<readonly string[]> {
  let left: readonly string[] = []
  const isClean = async (): Promise<boolean> => {
    left = addedSince(before, await read())
    return left.length === 0
  }
  await until('nothing is left', isClean, SETTLE_MS).catch((cause: unknown) => {
    // The time ran out: what is left is the answer.
    if (left.length === 0) throw cause
  })
  return left
}

async function networkState(node: Netns): Promise<NodeState> {
  const { links, routes, others } = await readNetns(node)
  return [
    ...links.flatMap(renderLink),
    ...routes.filter(route => route.protocol !== 'kernel').map(renderRoute),
    ...others,
  ]
}

function renderLink({ name, kind, addresses }: Link): readonly string[] {
  return [
    `link ${name}${kind === '' ? '' : ` (${kind})`}`,
    ...addresses.filter(isGiven).map(({ address, prefixLength }) => `address ${address}/${prefixLength} on ${name}`),
  ]
}

function renderRoute({ dst, type, dev, gateway, table }: Route): string {
  const words = [gateway === undefined ? '' : ` via ${gateway}`, dev === undefined ? '' : ` dev ${dev}`]
  return `route ${type} ${dst}${words.join('')} table ${table}`
}

async function nftables(node: Netns): Promise<NodeState> {
  const text = await node.run(['nft', '--stateless', 'list', 'ruleset'])
  const found = text.split('\n').map(line => line.trim().replaceAll(/\s+/g, ' '))
  return found.filter(line => line !== '' && line !== '}').map(line => `nftables: ${line}`)
}

/** Mount points of this mount namespace, but for namespaces of pods, which the suite makes and unmounts. */
async function mounts(): Promise<NodeState> {
  const text = await readFile('/proc/self/mountinfo', 'utf8')
  const points = text.split('\n').map(line => line.split(' ')[4])
  return points.filter(point => point !== undefined && !point.startsWith('/run/netns')).map(point => `mount ${point}`)
}

async function files(folder: string, ignored: RegExp | undefined): Promise<NodeState> {
  try {
    const found = await readdir(folder, { recursive: true, withFileTypes: true })
    const paths = found.map(entry => join(entry.parentPath, entry.name))
    return paths.filter(path => ignored?.test(path) !== true).map(path => `file ${path}`)
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return []
    throw cause
  }
}

async function processes(): Promise<NodeState> {
  const found = await processesHere()
  return found.map(({ pid, name }) => `process ${pid} ${name}`)
}

/** A process that shares the mount namespace of the suite: nothing but what the suite started, and what that left. */
export interface Process {
  readonly pid: number
  readonly name: string
}

/** The processes in the suite's mount namespace that are not children of the suite itself. */
export async function processesHere(): Promise<readonly Process[]> {
  const own = await readlink('/proc/self/ns/mnt')
  const self = Number(await readlink('/proc/self'))
  const pids = (await readdir('/proc')).map(Number).filter(pid => pid > 0 && pid !== self)
  const each = await Promise.all(pids.map(pid => describe(pid, { own, self })))
  return each.flat()
}

async function describe(
  pid: number,
  here: { readonly own: string; readonly self: number },
): Promise<readonly Process[]> {
  try {
    if ((await readlink(`/proc/${pid}/ns/mnt`)) !== here.own) return []
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    // A command that the suite is running now, and one that has ended and waits to be seen.
    if (state === 'Z' || Number(parent) === here.self) return []
    return [{ pid, name: stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')')) }]
  } catch (cause) {
    // It has ended meanwhile, or it is none that even root may look at here: nothing that a plugin can have started.
    if (cause instanceof Error && 'code' in cause && ['ENOENT', 'ESRCH', 'EACCES'].includes(String(cause.code)))
      return []
    throw cause
  }
}

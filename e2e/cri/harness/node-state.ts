import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { unless } from './errno.ts'
import type { TestNode } from './node.ts'

/** What a pod could leave on a node, as sorted lines that can be compared and read. */
export interface NodeState {
  readonly links: readonly string[]
  readonly routes: readonly string[]
  readonly neighbours: readonly string[]
  readonly rules: readonly string[]
  readonly nftables: readonly string[]
  /** Below /run (sockets, spool, locks, network namespaces) and in the state folders of CNI and Tulle. */
  readonly files: readonly string[]
  /** Names, without daemons' numbers. */
  readonly processes: readonly string[]
}

const WATCHED_DIRS = ['/run', '/var/lib/cni', '/var/lib/tulle']

/** The harness's and containerd's own files, and the layers below /var/lib. */
const UNWATCHED = /^\/run\/(?:tulle-test|containerd|\.var-lib)(?:\/|$)/

/** Reads the node's present state. */
export async function readNodeState(node: TestNode): Promise<NodeState> {
  return {
    links: lines(await node.exec('ip', '-brief', 'link')).map(line => line.split(/[\s@]/, 1).join()),
    routes: lines(
      (await node.exec('ip', '-4', 'route', 'show', 'table', 'all')) +
        (await node.exec('ip', '-6', 'route', 'show', 'table', 'all')),
    ),
    // The uplink resolves its gateway by itself whenever something is sent that way.
    neighbours: lines(await node.exec('ip', 'neighbour', 'show')).filter(line => !line.includes(' dev uplink')),
    rules: lines((await node.exec('ip', '-4', 'rule')) + (await node.exec('ip', '-6', 'rule'))),
    nftables: lines(await node.exec('nft', '--stateless', 'list', 'ruleset')),
    files: await filesOf(node),
    processes: (await node.processes()).map(({ name }) => name).toSorted(),
  }
}

async function filesOf(node: TestNode): Promise<readonly string[]> {
  const found = await Promise.all(
    WATCHED_DIRS.map(async dir => {
      const names = await readdir(node.pathOf(dir), { recursive: true }).catch(unless('ENOENT'))
      return (names ?? []).map(name => join(dir, name))
    }),
  )
  return found
    .flat()
    .filter(path => !UNWATCHED.test(path))
    .toSorted()
}

function lines(text: string): readonly string[] {
  return text
    .split('\n')
    .map(line => line.trimEnd())
    .filter(line => line !== '')
    .toSorted()
}

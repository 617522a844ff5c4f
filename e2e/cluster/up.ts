import { join } from 'node:path'
import { startCluster } from './namespaces/cluster.ts'
import type { Cluster } from './namespaces/cluster.ts'
import type { ProxyMode } from './namespaces/description.ts'
import { installReferenceNetwork } from './reference-network.ts'

/** What gives pods their network. */
export type NetworkChoice = 'tulle' | 'reference'

export interface UpOptions {
  readonly network: NetworkChoice
  readonly proxyMode: ProxyMode
  readonly nodes: number
  /** The archive of Tulle's image; the reference network needs none. */
  readonly imageArchives: readonly string[]
  readonly progress: (line: string) => void
}

const READY_MS = 300_000

/** What users apply. */
const MANIFEST = join(import.meta.dirname, '..', '..', 'deploy', 'tulle.yaml')

/** Brings a cluster up with a network, every node Ready and DNS running. @throws {Error} saying what is not; nothing is left then. */
export async function up({ network, ...options }: UpOptions): Promise<Cluster> {
  await using undo = new AsyncDisposableStack()
  const cluster = undo.use(await startCluster(options))
  await installNetwork(cluster, network)
  options.progress(`${network} is installed`)
  await cluster.kubectl(['wait', '--for=condition=Ready', 'node', '--all', `--timeout=${READY_MS / 1000}s`], {
    timeoutMs: READY_MS + 10_000,
  })
  options.progress('all nodes are Ready')
  await cluster.kubectl(['apply', '-f', join(import.meta.dirname, 'dns.yaml')])
  await cluster.kubectl(
    ['-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', `--timeout=${READY_MS / 1000}s`],
    {
      timeoutMs: READY_MS + 10_000,
    },
  )
  options.progress('DNS runs')
  undo.move()
  return cluster
}

async function installNetwork(cluster: Cluster, network: NetworkChoice): Promise<void> {
  switch (network) {
    case 'reference':
      return await installReferenceNetwork(cluster)
    case 'tulle':
      return void (await cluster.kubectl(['apply', '-f', MANIFEST]))
  }
}

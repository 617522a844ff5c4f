import { randomUUID } from 'node:crypto'
import t from 'tap'
import { attachToCluster } from '../../cluster/attach.ts'
import type { ClusterProvider } from '../../cluster/provider.ts'
import { nothingIsLeaked } from './clean.ts'
import { Kubernetes } from './kubernetes.ts'
import { CLUSTER_VARIABLE, NETWORK_VARIABLE } from './variables.ts'

/** Where a test file works: the machines, the API, a namespace of its own. */
export interface Setting {
  readonly provider: ClusterProvider
  readonly kubernetes: Kubernetes
  /** Whether the pods' network is Tulle, and not what it is compared with. */
  readonly isTulle: boolean
  /** Names of nodes. Tests that need two links take the first and the last. */
  readonly nodeNames: readonly string[]
}

/** Connects to the cluster that runs and makes a namespace, which goes when the file's tests have ended. */
export async function setUp(): Promise<Setting> {
  const file = process.env[CLUSTER_VARIABLE]
  if (file === undefined) throw new Error(`${CLUSTER_VARIABLE} is not set: run the suite by npm run e2e`)
  const provider = await attachToCluster(file)
  const kubernetes = Kubernetes.connect(provider.kubeconfigFile, `e2e-${randomUUID().slice(0, 8)}`)
  await kubernetes.createNamespace()
  t.teardown(async () => kubernetes.deleteNamespace())
  const isTulle = process.env[NETWORK_VARIABLE] === 'tulle'
  if (isTulle) t.afterEach(async () => nothingIsLeaked(provider, kubernetes))
  const nodeNames = (await provider.nodes()).map(({ name }) => name)
  return { provider, kubernetes, isTulle, nodeNames }
}

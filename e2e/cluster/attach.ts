import { readFile } from 'node:fs/promises'
import { KindCluster } from '../kind/kind-cluster.ts'
import type { KindDescription } from '../kind/kind-cluster.ts'
import { NamespaceProvider } from './namespaces/provider.ts'
import type { ClusterProvider } from './provider.ts'

/** The machines behind a cluster that another process holds and has described in `file`. */
export async function attachToCluster(file: string): Promise<ClusterProvider> {
  const description = JSON.parse(await readFile(file, 'utf8')) as Partial<KindDescription>
  return isKind(description) ? new KindCluster(description) : await NamespaceProvider.attach(file)
}

function isKind(description: Partial<KindDescription>): description is KindDescription {
  return description.provider === 'kind'
}

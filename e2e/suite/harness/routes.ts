import type { ClusterProvider } from '../../cluster/provider.ts'

/** A route of the agent: protocol 118. */
export interface AgentRoute {
  readonly to: string
  readonly device: string
}

/** The routes that a node has to the pods of other nodes, of both families. */
export async function routesToNodes(provider: ClusterProvider, nodeName: string): Promise<readonly AgentRoute[]> {
  const routes: AgentRoute[] = []
  for (const family of ['-4', '-6']) {
    const text = await provider.exec(nodeName, ['ip', family, '-json', 'route', 'show', 'protocol', '118'])
    const found = JSON.parse(text) as readonly { readonly dst: string; readonly dev: string }[]
    routes.push(...found.map(({ dst, dev }) => ({ to: dst, device: dev })))
  }
  return routes
}

import type { ClusterProvider } from '../../cluster/provider.ts'
import { until } from '../../cluster/until.ts'
import type { Kubernetes } from './kubernetes.ts'
import { routesToNodes } from './routes.ts'

const CLEAN_MS = 120_000

/**
 * Waits until every node is clean: `tullectl check` finds nothing (no address, link, pod's route or nftables rule without its
 * owner, none missing), and its routes lead to the pods of every other node and nowhere else.
 *
 * @throws {Error} with what is not so still, after two minutes.
 */
export async function nothingIsLeaked(provider: ClusterProvider, kubernetes: Kubernetes): Promise<void> {
  await until(
    'every node to be clean',
    async () => {
      const nodes = await kubernetes.nodes()
      for (const { name } of await provider.nodes()) {
        await provider.exec(name, ['/opt/cni/bin/tullectl', 'check'])
        const others = nodes.filter(({ metadata }) => metadata?.name !== name)
        const wanted = others
          .flatMap(({ spec }) => spec?.podCIDRs ?? [])
          .toSorted()
          .join(' ')
        const there = (await routesToNodes(provider, name))
          .map(({ to }) => to)
          .toSorted()
          .join(' ')
        if (there !== wanted) throw new Error(`${name} has routes to ${there}, want ${wanted}`)
      }
      return true
    },
    CLEAN_MS,
  )
}

import type { ClusterProvider } from '../../cluster/provider.ts'
import { until } from '../../cluster/until.ts'

const CLEAN_MS = 60_000

/**
 * Waits until `tullectl check` finds nothing on any node: no address, link or route without its owner, none missing.
 *
 * @throws {Error} with what it finds still, after a minute.
 */
export async function nothingIsLeaked(provider: ClusterProvider): Promise<void> {
  await until(
    'tullectl check to find nothing',
    async () => {
      for (const { name } of await provider.nodes()) await provider.exec(name, ['/opt/cni/bin/tullectl', 'check'])
      return true
    },
    CLEAN_MS,
  )
}

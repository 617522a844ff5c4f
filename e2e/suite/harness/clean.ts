import { until } from '../../cluster/until.ts'
import type { Kubernetes } from './kubernetes.ts'

const CLEAN_MS = 60_000

/**
 * Waits until `tullectl check` finds nothing on any node: no address, link or route without its owner, none missing.
 *
 * @throws {Error} with what it finds still, after a minute.
 */
export async function nothingIsLeaked(kubernetes: Kubernetes): Promise<void> {
  const namespace = 'kube-system'
  const labelSelector = 'app.kubernetes.io/name=tulle'
  await until(
    'tullectl check to find nothing',
    async () => {
      const { items } = await kubernetes.core.listNamespacedPod({ namespace, labelSelector })
      if (items.length === 0) throw new Error(`no pod with ${labelSelector} in ${namespace}`)
      for (const { metadata } of items) {
        await kubernetes.exec(metadata?.name ?? '', ['tullectl', 'check'], { namespace, container: 'ipamd' })
      }
      return true
    },
    CLEAN_MS,
  )
}

import type { Kubernetes } from './kubernetes.ts'
import { serverPod } from './pods.ts'

/** Waiting for a node whose daemons are being restarted. */
const ROUND_MS = 240_000

/** How many pods came and went. */
export interface Churn {
  readonly during: number
  readonly afterwards: number
}

/**
 * Makes and deletes one pod after the other on every node while `disturb` runs, and until each node has had one that was
 * made afterwards.
 *
 * @throws {Error} when a pod does not become Ready, or does not go, in four minutes; or what `disturb` throws.
 */
export async function underChurn(
  kubernetes: Kubernetes,
  nodeNames: readonly string[],
  disturb: () => Promise<void>,
): Promise<Churn> {
  let isOver = false
  let during = 0
  let afterwards = 0
  async function churnOn(nodeName: string): Promise<void> {
    for (let round = 0; ; round++) {
      const isLast = isOver
      const name = `churn-${nodeName}-${round}`
      await kubernetes.createPod(serverPod({ name, nodeName, args: ['pause'] }))
      await kubernetes.readyPods([name], ROUND_MS)
      await kubernetes.deletePods([name])
      if (isLast) afterwards++
      else during++
      if (isLast) return
    }
  }
  const disturbed = disturb().finally(() => (isOver = true))
  // All of them end before the next test begins, also when one has failed.
  const outcomes = await Promise.allSettled([disturbed, ...nodeNames.map(churnOn)])
  const failed = outcomes.find(({ status }) => status === 'rejected')
  if (failed?.status === 'rejected') throw failed.reason
  return { during, afterwards }
}

import type { Log } from '../../lib/log/json-log.ts'
import type { Reconciler } from './reconciler.ts'

/** Runs a turn now, and one in each interval. Stopping waits for the turn that runs. */
export function reconcileNowAndThen(
  reconciler: Pick<Reconciler, 'runQuietly' | 'settle'>,
  { intervalMs, log }: { readonly intervalMs: number; readonly log: Log },
): { stop(): Promise<void> } {
  let isRunning = false
  void turn()
  const timer = setInterval(() => void turn(), intervalMs)
  timer.unref()
  return {
    async stop() {
      clearInterval(timer)
      await reconciler.settle()
    },
  }

  async function turn(): Promise<void> {
    // A turn that takes longer than the interval is not followed by a queue of others.
    if (isRunning) return
    isRunning = true
    try {
      await reconciler.runQuietly()
    } catch (cause) {
      log.error('reconciling failed; nothing was changed', { error: cause })
    } finally {
      isRunning = false
    }
  }
}

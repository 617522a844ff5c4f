import type { Log } from '../../lib/log/json-log.ts'
import type { Repairer } from './repairer.ts'

/** A table that was flushed is back within this time and that of one turn: the promise is 2 seconds. */
const TURN_EVERY_MS = 500
/** How many turns take the kernel's word that nothing has changed, before one looks itself. */
const THOROUGH_EVERY_TURNS = 20

/** Runs a turn now, and one after another with a pause between. Stopping waits for the turn that runs. */
export function repairNowAndThen(repairer: Repairer, { log }: { readonly log: Log }): { stop(): Promise<void> } {
  let timer: NodeJS.Timeout | undefined
  let isStopped = false
  let turns = 0
  let running = turn()
  return {
    async stop() {
      isStopped = true
      clearTimeout(timer)
      await running
      repairer.close()
    },
  }

  async function turn(): Promise<void> {
    try {
      await repairer.turn({ isThorough: turns++ % THOROUGH_EVERY_TURNS === 0 })
    } catch (cause) {
      log.error('repairing nftables failed', { error: cause })
    }
    if (isStopped) return
    timer = setTimeout(() => {
      running = turn()
    }, TURN_EVERY_MS)
    timer.unref()
  }
}

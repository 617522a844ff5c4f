import { setImmediate as nextTurn } from 'node:timers/promises'
import { formatPrefix } from '../lib/net/prefix.ts'
import type { HistoryBounds, LeaseService } from './lease-service.ts'
import type { Log } from '../lib/log/json-log.ts'

/**
 * A thousand rows each: at a turn every ten seconds it keeps up with 500 dual-stack pods a second that come and go, four rows for
 * each.
 */
const MAX_TRIM_STEPS = 20

export interface Housekeeping {
  readonly history: HistoryBounds
  readonly log: Log
  readonly trimMemory?: (() => void) | undefined
}

/**
 * Follows a clock that was set, gives back blocks that are not needed, forgets old history, a bounded step of each, and gives back
 * memory. Never rejects: what failed is logged, and is tried again at the next turn.
 */
export async function keepHouse(
  service: Pick<LeaseService, 'storeClockStep' | 'giveBackBlocks' | 'trimHistory'>,
  { history, log, trimMemory }: Housekeeping,
): Promise<void> {
  try {
    service.storeClockStep()
  } catch (cause) {
    log.error('following the clock failed', { error: cause })
  }
  try {
    for (const block of await service.giveBackBlocks()) log.info('block given back', { block: formatPrefix(block) })
  } catch (cause) {
    log.error('giving back blocks failed', { error: cause })
  }
  try {
    // Requests come between the steps.
    for (let steps = 0; steps < MAX_TRIM_STEPS && service.trimHistory(history); steps += 1) await nextTurn()
  } catch (cause) {
    log.error('trimming the history failed', { error: cause })
  }
  trimMemory?.()
}

import { formatPrefix } from '../lib/net/prefix.ts'
import type { HistoryBounds, LeaseService } from './lease-service.ts'
import type { Log } from '../lib/log/json-log.ts'

/**
 * Gives back blocks that are not needed and forgets old history, a bounded step of each. Never rejects: what failed is logged,
 * and is tried again at the next turn.
 */
export async function keepHouse(
  service: Pick<LeaseService, 'giveBackBlocks' | 'trimHistory'>,
  { history, log }: { readonly history: HistoryBounds; readonly log: Log },
): Promise<void> {
  try {
    for (const block of await service.giveBackBlocks()) log.info('block given back', { block: formatPrefix(block) })
  } catch (cause) {
    log.error('giving back blocks failed', { error: cause })
  }
  try {
    service.trimHistory(history)
  } catch (cause) {
    log.error('trimming the history failed', { error: cause })
  }
}

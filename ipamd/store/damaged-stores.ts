import { readdirSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import type { Log } from '../../lib/log/json-log.ts'

/** How many damaged stores stay for a person to look at. Each may be as large as the store. */
export const KEPT_DAMAGED_STORES = 3

/** What SQLite keeps beside a store, under the store's name. */
const SUFFIXES = ['', '-wal'] as const

/** Where the damaged store of `path` goes. Names of later moments come later in the alphabet. */
export function damagedStorePath(path: string, nowUnixMs: number): string {
  return `${path}.damaged-${new Date(nowUnixMs).toISOString().replaceAll(':', '')}`
}

/** The bytes of a damaged store, with its log. */
export function sizeOfDamagedStore(aside: string): number {
  return SUFFIXES.reduce((sum, suffix) => sum + (statSync(aside + suffix, { throwIfNoEntry: false })?.size ?? 0), 0)
}

/**
 * Removes the oldest damaged stores of `path`, so that KEPT_DAMAGED_STORES are left, `newest` among them: its name may come first
 * where the clock was set back. Never throws: what cannot be removed is logged, and tried again when the next one comes.
 */
export function removeOldDamagedStores(
  path: string,
  { newest, log }: { readonly newest: string; readonly log: Log },
): void {
  try {
    const all = damagedStoresOf(path)
    const excess = Math.max(0, all.length - KEPT_DAMAGED_STORES)
    for (const store of all.filter(each => each !== newest).slice(0, excess)) {
      const bytes = sizeOfDamagedStore(store)
      for (const suffix of SUFFIXES) rmSync(store + suffix, { force: true })
      log.warn('an old damaged store was removed', { path: store, bytes, kept: KEPT_DAMAGED_STORES })
    }
  } catch (cause) {
    log.error('old damaged stores not removed', { path, error: cause })
  }
}

/** Oldest first. A log whose store is gone counts as its store. */
function damagedStoresOf(path: string): readonly string[] {
  const prefix = `${basename(path)}.damaged-`
  const names = readdirSync(dirname(path)).filter(name => name.startsWith(prefix))
  return [...new Set(names.map(name => join(dirname(path), name.replace(/-wal$/, ''))))].toSorted()
}

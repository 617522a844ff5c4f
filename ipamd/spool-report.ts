import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** What lies in the spool. */
export interface SpoolReport {
  /** Releases that wait. */
  readonly waiting: number
  /** Files that are no release. */
  readonly setAside: number
  /** When the oldest release that waits was put there. */
  readonly oldestAtUnixMs?: number
}

/** Looks at the spool. @throws the errno of the folder. */
export function observeSpool(folder: string): SpoolReport {
  const names = readdirSync(folder).filter(name => !name.startsWith('.'))
  const times = names
    .filter(name => name.endsWith('.json'))
    .map(name => lstatSync(join(folder, name), { throwIfNoEntry: false })?.mtimeMs)
    // One that was carried out meanwhile.
    .filter(time => time !== undefined)
  return {
    waiting: times.length,
    setAside: names.filter(name => name.endsWith('.bad')).length,
    ...(times.length === 0 ? {} : { oldestAtUnixMs: Math.min(...times) }),
  }
}

import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { encodeSpoolEntry, spoolFileName, SPOOL_DIR_NAME, type SpoolEntry } from '../ipam/spool-entry.ts'
import { writeDurably } from './durable-file.ts'

/**
 * Keeps a release for the ipamd of `socketPath`, which reads its spool when it starts and from time to time (R13).
 *
 * Returns when the entry would survive a loss of power. A second release of the same attachment replaces the first.
 */
export function spoolRelease(socketPath: string, entry: SpoolEntry): void {
  const folder = join(dirname(socketPath), SPOOL_DIR_NAME)
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  writeDurably(join(folder, spoolFileName(entry.attachment)), encodeSpoolEntry(entry), String(entry.releasedAtUnixMs))
}

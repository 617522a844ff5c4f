import { mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { attachmentKeyText } from '../ipam/attachment.ts'
import { encodeSpoolEntry, spoolFileName, SPOOL_DIR_NAME, type SpoolEntry } from '../ipam/spool-entry.ts'
import { isErrnoException, writeDurably } from './durable-file.ts'

/**
 * Keeps a release for the ipamd of `socketPath`, which reads its spool when it starts and from time to time (R13).
 *
 * Returns when the entry would survive a loss of power. A second release of the same attachment replaces the first.
 *
 * @throws {CniError} code 5 when the spool cannot be written to.
 */
export function spoolRelease(socketPath: string, entry: SpoolEntry): void {
  const folder = join(dirname(socketPath), SPOOL_DIR_NAME)
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    writeDurably(join(folder, spoolFileName(entry.attachment)), encodeSpoolEntry(entry), String(entry.releasedAtUnixMs))
  } catch (cause) {
    if (!isErrnoException(cause)) throw cause
    const what = `Cannot keep the release of ${attachmentKeyText(entry.attachment)} in ${folder}`
    throw new CniError(ErrorCode.io, `${what}: ${cause.message}; want a folder to write to, or an ipamd that answers`, {
      cause,
    })
  }
}

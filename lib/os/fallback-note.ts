import { closeSync, constants, fstatSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fallbackNoteName, MAX_FALLBACK_NOTE_BYTES, type Fallback } from '../ipam/fallback.ts'
import { SPOOL_DIR_NAME } from '../ipam/spool-entry.ts'
import { isErrnoException } from './durable-file.ts'

/**
 * Leaves a note for the ipamd of `socketPath` that a call was done without it: one byte more in the file of its kind, which
 * ipamd counts and removes. Nobody waits for ipamd, and the note needs no syncing: it is about speed, not about state.
 *
 * @returns why it could not be left; undefined when it was, or when there are as many as are counted.
 */
export function noteFallback(socketPath: string, fallback: Fallback): string | undefined {
  const folder = join(dirname(socketPath), SPOOL_DIR_NAME)
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 })
    addByte(join(folder, fallbackNoteName(fallback)))
    return undefined
  } catch (failure) {
    if (!isErrnoException(failure)) throw failure
    return failure.message
  }
}

function addByte(path: string): void {
  const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW, O_NONBLOCK } = constants
  const fd = openSync(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0o600)
  try {
    if (fstatSync(fd).size < MAX_FALLBACK_NOTE_BYTES) writeSync(fd, '.')
  } finally {
    closeSync(fd)
  }
}

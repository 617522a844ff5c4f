import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { attachmentHash, attachmentKeyText, type AttachmentKey } from '../ipam/attachment.ts'
import { ParseError } from '../net/parse-error.ts'
import { formatExposure, parseExposure } from '../plan/exposure-record.ts'
import type { Exposure } from '../plan/exposure.ts'
import { isErrnoException, removeIfThere } from './durable-file.ts'

/*
 * What pods have in nftables, one file for each, beside ipamd's socket and the locks: from these ipamd puts elements back that
 * somebody flushed. The folder is in memory like the kernel's tables, and nothing in it has to survive a restart of the machine.
 * Whoever writes or removes a file holds the lock of its attachment.
 */

/** Where the files are, beside ipamd's socket. */
export const EXPOSURES_DIR_NAME = 'exposures'

/** Keeps `exposure` for ipamd. @throws {CniError} code 5 when the folder cannot be written to. */
export function keepExposure(socketPath: string, exposure: Exposure): void {
  const path = pathOf(socketPath, exposure.attachment)
  io(`Cannot keep the ports of ${attachmentKeyText(exposure.attachment)} in ${dirname(path)}`, () => {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(path, formatExposure(exposure), { mode: 0o600 })
  })
}

/** Drops what is kept of `attachment`; nothing is fine. @throws {CniError} code 5 when a file does not go. */
export function dropExposure(socketPath: string, attachment: AttachmentKey): void {
  const path = pathOf(socketPath, attachment)
  io(`Cannot drop the ports of ${attachmentKeyText(attachment)} in ${dirname(path)}`, () => {
    try {
      removeIfThere(path)
    } catch (failure) {
      // Something on the way is no folder: then there is no file either.
      if (!isErrnoException(failure) || failure.code !== 'ENOTDIR') throw failure
    }
  })
}

/** What is kept, by file; what could not be read is in `unreadable`, each as a sentence. An ADD that was killed leaves such. */
export interface KeptExposures {
  readonly exposures: readonly Exposure[]
  readonly unreadable: readonly string[]
}

/** Reads all that is kept beside `socketPath`. @throws {CniError} code 5 when the folder cannot be read. */
export function readExposures(socketPath: string): KeptExposures {
  const folder = join(dirname(socketPath), EXPOSURES_DIR_NAME)
  const exposures: Exposure[] = []
  const unreadable: string[] = []
  for (const name of io(`Cannot read ${folder}`, () => namesIn(folder))) {
    const path = join(folder, name)
    try {
      const text = io(`Cannot read ${path}`, () => textOf(path))
      if (text === undefined) continue
      const exposure = parseExposure(text)
      if (attachmentHash(exposure.attachment) !== name)
        throw new ParseError('Cannot read exposure: it is of another attachment')
      exposures.push(exposure)
    } catch (failure) {
      if (!(failure instanceof ParseError)) throw failure
      unreadable.push(`${path}: ${failure.message}`)
    }
  }
  return { exposures, unreadable }
}

function pathOf(socketPath: string, attachment: AttachmentKey): string {
  return join(dirname(socketPath), EXPOSURES_DIR_NAME, attachmentHash(attachment))
}

function namesIn(folder: string): readonly string[] {
  return orNothing(() => readdirSync(folder)) ?? []
}

/** Undefined when it has gone meanwhile. */
function textOf(path: string): string | undefined {
  return orNothing(() => readFileSync(path, 'utf8'))
}

function orNothing<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (failure) {
    if (isErrnoException(failure) && failure.code === 'ENOENT') return undefined
    throw failure
  }
}

function io<T>(what: string, use: () => T): T {
  try {
    return use()
  } catch (cause) {
    if (!isErrnoException(cause)) throw cause
    throw new CniError(ErrorCode.io, `${what}: ${cause.message}; want a folder to write to`, { cause })
  }
}

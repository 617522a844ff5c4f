import { closeSync, fstatSync, fsyncSync, openSync, realpathSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { backup as copyDatabase, DatabaseSync } from 'node:sqlite'
import { parseBackupRequest } from '../../lib/ipam/backup.ts'
import { IpamProblem } from '../../lib/ipam/errors.ts'
import { quoteText } from '../../lib/net/quote-text.ts'
import { StoreError } from '../store/store-error.ts'
import type { Input, Subjects } from './handler.ts'
import { jsonReply, type Reply } from './reply.ts'

/** More pages than any store has. */
const ALL_PAGES = 2 ** 31 - 1

/** Writes a copy of the store as it is now. It is whole and durable when it is answered; after a failure there is none. */
export async function backup({ reader }: Subjects, { body }: Input): Promise<Reply> {
  const file = parseBackupRequest(body)
  refuseOwnFolder(file, dirname(reader.path))
  const fd = createForUs(file)
  try {
    await copyStore(reader.path, file)
    fsyncSync(fd)
    return jsonReply({ file, bytes: fstatSync(fd).size })
  } catch (cause) {
    rmSync(file, { force: true })
    throw cause
  } finally {
    closeSync(fd)
  }
}

/**
 * In one step, which is one moment of the store, on another thread and over a connection of its own: neither commits nor readers
 * wait for it.
 */
async function copyStore(path: string, file: string): Promise<void> {
  try {
    using source = new DatabaseSync(path, { readOnly: true })
    await copyDatabase(source, file, { rate: ALL_PAGES })
  } catch (cause) {
    throw new StoreError(`Cannot copy lease store ${path}: ${(cause as Error).message}`, { cause })
  }
}

// What is put there may be taken for ours at the next start: "<store>.rebuilt" would replace the store.
function refuseOwnFolder(file: string, folder: string): void {
  const own = realpathSync(folder)
  const target = asFileProblem(file, () => realpathSync(dirname(file)))
  if (target !== own && !target.startsWith(`${own}/`)) return
  throw new IpamProblem(
    'bad-request',
    `cannot make ${quoteText(file)}: want a path outside ${own}, which is ipamd's own`,
  )
}

// Made here, empty, because SQLite would make a file that everybody may read.
function createForUs(file: string): number {
  return asFileProblem(file, () => openSync(file, 'wx', 0o600))
}

function asFileProblem<T>(file: string, access: () => T): T {
  try {
    return access()
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new IpamProblem('bad-request', `cannot make ${quoteText(file)}: ${code}: want a path where no file is`, {
      cause,
    })
  }
}

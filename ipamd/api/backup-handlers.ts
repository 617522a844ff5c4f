import { closeSync, fstatSync, fsyncSync, openSync, unlinkSync } from 'node:fs'
import { parseBackupRequest } from '../../lib/ipam/backup.ts'
import { IpamProblem } from '../../lib/ipam/errors.ts'
import { quoteText } from '../../lib/net/quote-text.ts'
import type { Input, Subjects } from './handler.ts'
import { jsonReply, type Reply } from './reply.ts'

/** Writes a copy of the store as it is now. It is whole and durable when it is answered; after a failure there is none. */
export async function backup({ reader }: Subjects, { body }: Input): Promise<Reply> {
  const file = parseBackupRequest(body)
  const fd = createForUs(file)
  try {
    reader.query('VACUUM INTO ?', { parameters: [file], read: rows => [...rows] })
    fsyncSync(fd)
    return jsonReply({ file, bytes: fstatSync(fd).size })
  } catch (cause) {
    unlinkSync(file)
    throw cause
  } finally {
    closeSync(fd)
  }
}

// Made here, empty, because SQLite would make a file that everybody may read.
function createForUs(file: string): number {
  try {
    return openSync(file, 'wx', 0o600)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    throw new IpamProblem('bad-request', `cannot make ${quoteText(file)}: ${code}: want a path where no file is`, {
      cause,
    })
  }
}

import { readFileSync, statSync } from 'node:fs'
import { isErrnoException, removeIfThere, syncFolder, writeDurably } from '../../lib/os/durable-file.ts'
import { dirname } from 'node:path'
import { decideConflist } from './conflist.ts'

/** Another installer that writes at the same time is met this often before we give up until the next look. */
const TRIES = 5

export interface ConflistPaths {
  readonly from: string
  readonly to: string
}

/**
 * Makes the conflist say what ours says, and keeps what others added (checklist R10, R11, R38). It is written whole, in one
 * step, and never removed first: there is no moment at which a runtime finds none.
 *
 * @returns true when it was written. @throws {Error} when somebody else writes it again and again, or the file system refuses.
 */
export function installConflist({ from, to }: ConflistPaths, unique: string): boolean {
  const ours = readFileSync(from, 'utf8')
  for (let tries = 0; tries < TRIES; tries++) {
    const before = identityOf(to)
    const decision = decideConflist(ours, readIfThere(to))
    if (decision.kind === 'keep') return false
    // Between our look and our write somebody else may have written: what they added must not be lost.
    if (identityOf(to) !== before) continue
    writeDurably(to, decision.text, `${unique}.${tries}`)
    return true
  }
  throw new Error(`${to}: somebody else keeps writing it`)
}

/** Takes the conflist away: from then on the runtime starts no pods. */
export function removeConflist(to: string): void {
  removeIfThere(to)
  syncFolder(dirname(to))
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch (failure) {
    if (isErrnoException(failure) && failure.code === 'ENOENT') return undefined
    throw failure
  }
}

/** Other after each write, in place or by renaming. */
function identityOf(path: string): string {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stat === undefined ? 'none' : `${stat.ino} ${stat.mtimeNs} ${stat.size}`
}

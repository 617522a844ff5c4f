import { closeSync, constants, ftruncateSync, futimesSync, openSync, readSync, writeSync } from 'node:fs'

/** Another process has the lock. */
export class LockHeld extends Error {
  override readonly name = 'LockHeld'
}

/** The lock of a file, held until it is given back or the process ends. */
export interface HeldLock {
  /** Gives the file the time of now: the launcher sees by it that its holder is about to go, and waits for the next. */
  touch(): void
  release(): void
}

/**
 * Takes the lock of a file, which is made if need be and stays when the lock is given back.
 *
 * @param tryLock flock(2), not waiting. @throws {LockHeld} naming `what` and the process that has the lock.
 */
export function takeLock(
  path: string,
  { what, pid, tryLock }: { what: string; pid: number; tryLock: (fd: number) => boolean },
): HeldLock {
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    if (!tryLock(fd)) throw new LockHeld(`Cannot use ${what}: another ipamd${holder(fd)} uses it (${path} is locked)`)
    // Only for the message above: the lock counts, not the number.
    ftruncateSync(fd)
    writeSync(fd, `${pid}\n`, 0)
  } catch (cause) {
    closeSync(fd)
    throw cause
  }
  return {
    touch() {
      const now = new Date()
      futimesSync(fd, now, now)
    },
    release: () => closeSync(fd),
  }
}

function holder(fd: number): string {
  const buffer = Buffer.alloc(16)
  const text = buffer.toString('utf8', 0, readSync(fd, buffer, 0, buffer.length, 0)).trim()
  return /^[0-9]+$/.test(text) ? ` (process ${text})` : ''
}

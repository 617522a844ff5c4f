import { closeSync, constants, fstatSync, mkdirSync, openSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { NativeAddon } from '../../native/addon.ts'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { attachmentHash, attachmentKeyText, type AttachmentKey } from '../ipam/attachment.ts'
import { DeadlineExceeded, type Deadline } from '../time/deadline.ts'
import { isErrnoException, removeIfThere } from './durable-file.ts'

/** Where the locks of a node are, beside ipamd's socket: the executable and the daemon must agree on it. */
export const LOCK_DIR_NAME = 'locks'
/** How long to wait before asking for a lock again, in milliseconds: from the first to the last. */
const FIRST_PAUSE_MS = 1
const LAST_PAUSE_MS = 20

/** What takeAttachmentLock has to know. */
export interface LockOptions {
  readonly addon: Pick<NativeAddon, 'tryLock'>
  /** ipamd's socket; the locks are in a folder beside it. */
  readonly socketPath: string
  readonly by: Deadline
}

/**
 * Takes the lock of `attachment` among all processes of the node (DESIGN: never two actors on one pod). Disposing gives it
 * back; so does the end of the process.
 *
 * The lock is a file that exists only while somebody holds it or waits for it.
 *
 * @throws {DeadlineExceeded} when somebody else holds it for too long.
 * @throws {CniError} code 5 when the folder of the locks cannot be written to.
 */
export async function takeAttachmentLock(attachment: AttachmentKey, options: LockOptions): Promise<Disposable> {
  const folder = join(dirname(options.socketPath), LOCK_DIR_NAME)
  const path = join(folder, attachmentHash(attachment))
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LAST_PAUSE_MS)) {
    const held = ioAt(folder, () => tryLockFile(path, options.addon))
    if (held !== undefined) return held
    if (options.by.isPast()) throw new DeadlineExceeded(`waiting for the lock of ${attachmentKeyText(attachment)}`)
    await delay(pauseMs)
  }
}

/** What the file system refuses is no bug: the message names the folder that has to be writable. */
function ioAt<T>(folder: string, use: () => T): T {
  try {
    return use()
  } catch (cause) {
    if (!isErrnoException(cause)) throw cause
    throw new CniError(
      ErrorCode.io,
      `Cannot lock the attachment in ${folder}: ${cause.message}; want a folder to write to`,
      { cause },
    )
  }
}

function tryLockFile(path: string, addon: Pick<NativeAddon, 'tryLock'>): Disposable | undefined {
  // At each try: the folder may be cleared while somebody waits.
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
  try {
    // The holder before us removes the file before it lets go: a lock on a removed file would keep nobody out.
    if (addon.tryLock(fd) && isFileAt(path, fd)) return new HeldLock(path, fd)
  } catch (failure) {
    closeSync(fd)
    throw failure
  }
  closeSync(fd)
  return undefined
}

function isFileAt(path: string, fd: number): boolean {
  const held = fstatSync(fd, { bigint: true })
  try {
    const there = statSync(path, { bigint: true })
    return held.ino === there.ino && held.dev === there.dev
  } catch (failure) {
    if (isErrnoException(failure) && failure.code === 'ENOENT') return false
    throw failure
  }
}

class HeldLock implements Disposable {
  readonly #path: string
  readonly #fd: number

  constructor(path: string, fd: number) {
    this.#path = path
    this.#fd = fd
  }

  [Symbol.dispose](): void {
    try {
      // After somebody cleared the folder the file of that name may be another holder's.
      if (isFileAt(this.#path, this.#fd)) removeIfThere(this.#path)
    } catch (failure) {
      // Closing gives the lock back. A file that stays keeps nobody out, and must not turn what was done into a failure.
      if (!isErrnoException(failure)) throw failure
    } finally {
      closeSync(this.#fd)
    }
  }
}

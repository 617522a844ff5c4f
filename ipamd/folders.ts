import { chmodSync, mkdirSync, realpathSync, statSync, type Stats } from 'node:fs'

/** Folders that others use too: changing their mode would break the machine. */
const SHARED_FOLDERS: ReadonlySet<string> = new Set([
  '/',
  '/dev',
  '/dev/shm',
  '/etc',
  '/home',
  '/opt',
  '/root',
  '/run',
  '/srv',
  '/tmp',
  '/usr',
  '/usr/local',
  '/var',
  '/var/cache',
  '/var/lib',
  '/var/run',
  '/var/tmp',
])

const STICKY = 0o1000

/**
 * Makes sure that the folder exists and that only its owner can use it (mode 0700). One with wider permissions is tightened.
 *
 * @param owner our user ID. @throws {Error} naming the folder, when it is one that others use too, or is somebody else's.
 */
export function preparePrivateFolder(path: string, owner: number): void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const real = realpathSync(path)
  const stats = statSync(real)
  const reason = unsuitable(real, stats, owner)
  if (reason !== undefined) throw new Error(`Cannot use folder ${path}: ${reason}; want a folder of its own`)
  if ((stats.mode & 0o7777) !== 0o700) chmodSync(real, 0o700)
}

function unsuitable(real: string, stats: Stats, owner: number): string | undefined {
  if (SHARED_FOLDERS.has(real) || (stats.mode & STICKY) !== 0)
    return 'others use it too, so its mode may not become 0700'
  if (stats.uid !== owner) return `it belongs to user ${stats.uid}, not to ${owner}`
  return undefined
}

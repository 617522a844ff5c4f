import { chmodSync, mkdirSync, realpathSync, statSync, type Stats } from 'node:fs'

/** Folders that others use too: changing their mode would break the machine. */
const SHARED_FOLDERS: ReadonlySet<string> = new Set([
  '/',
  '/bin',
  '/boot',
  '/dev',
  '/dev/shm',
  '/etc',
  '/etc/cni',
  '/etc/cni/net.d',
  '/etc/kubernetes',
  '/home',
  '/lib',
  '/lib64',
  '/media',
  '/mnt',
  '/opt',
  '/opt/cni',
  '/opt/cni/bin',
  '/proc',
  '/root',
  '/run',
  '/run/containerd',
  '/run/lock',
  '/run/netns',
  '/run/user',
  '/sbin',
  '/srv',
  '/sys',
  '/tmp',
  '/usr',
  '/usr/bin',
  '/usr/lib',
  '/usr/lib64',
  '/usr/local',
  '/usr/local/bin',
  '/usr/local/lib',
  '/usr/sbin',
  '/usr/share',
  '/var',
  '/var/cache',
  '/var/lib',
  '/var/lib/cni',
  '/var/lib/containerd',
  '/var/lib/kubelet',
  '/var/log',
  '/var/run',
  '/var/spool',
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

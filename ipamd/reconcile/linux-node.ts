import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { openLinuxKernel } from '../../lib/kernel/linux-kernel.ts'
import { LOCK_DIR_NAME, takeAttachmentLock } from '../../lib/os/attachment-lock.ts'
import { isErrnoException } from '../../lib/os/durable-file.ts'
import { hashOfHostIfName } from '../../lib/plan/link-names.ts'
import type { NativeAddon } from '../../native/addon.ts'
import type { NodeEdges } from './node-edges.ts'

/** What a process that ends while one looks at it answers. */
const NOT_THERE = new Set(['ENOENT', 'ESRCH', 'ENOTDIR'])
/** What a process that is not ours to look at answers. */
const OUT_OF_SIGHT = new Set(['EACCES', 'EPERM'])

/**
 * The node that the daemon runs on.
 *
 * @param lockSocketPath the socket beside which the plugins keep their locks: the default one, whatever ours is.
 */
export function linuxNode(addon: NativeAddon, lockSocketPath: string): NodeEdges {
  return {
    openKernel: () => openLinuxKernel(addon, { exchange: 'async' }),
    lock: (attachment, by) => takeAttachmentLock(attachment, { addon, socketPath: lockSocketPath, by }),
    isBusy: hostIfName => {
      // A lock's file is there only while somebody holds it or waits for it.
      const files = listOrNothing(join(dirname(lockSocketPath), LOCK_DIR_NAME))
      return files.some(file => file.startsWith(hashOfHostIfName(hostIfName)))
    },
    isNetnsAlive,
  }
}

function isNetnsAlive(inode: number): boolean {
  const identity = `net:[${inode}]`
  // proc_pid_mountinfo(5): the root of a bind mount of a namespace is its identity. `ip netns add` keeps one so.
  if (readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${identity} `)) return true
  // Who sees only itself can't tell what lives: process 1 is the node's only when the daemon is not alone with its children,
  // and is seen unless /proc hides processes (hidepid).
  if (readlinkSync('/proc/self') === '1' || netnsOf('1') === undefined) return true
  return readdirSync('/proc').some(name => /^[0-9]+$/.test(name) && [identity, 'unknown'].includes(netnsOf(name) ?? ''))
}

/** Undefined when there is no such process, 'unknown' when it is not ours to look at: it may live in any namespace. */
function netnsOf(pid: string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`)
  } catch (cause) {
    if (isErrnoException(cause) && NOT_THERE.has(cause.code)) return undefined
    if (isErrnoException(cause) && OUT_OF_SIGHT.has(cause.code)) return 'unknown'
    throw cause
  }
}

function listOrNothing(folder: string): readonly string[] {
  try {
    return readdirSync(folder)
  } catch (cause) {
    if (isErrnoException(cause) && cause.code === 'ENOENT') return []
    throw cause
  }
}

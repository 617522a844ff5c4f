import { closeSync } from 'node:fs'
import { Declined, type Edges, type Ipam } from '../../lib/attach/edges.ts'
import type { KernelHost } from '../../lib/kernel/kernel-host.ts'
import { openLinuxKernelIn } from '../../lib/kernel/linux-kernel.ts'
import { isNativeError } from '../../lib/kernel/native-error.ts'
import { takeAttachmentLock } from '../../lib/os/attachment-lock.ts'
import { dropExposure, keepExposure } from '../../lib/os/exposure-files.ts'
import { spoolRelease } from '../../lib/os/spool.ts'
import type { NativeAddon, NetnsHandle } from '../../native/addon.ts'
import type { AttachmentTurns } from './attachment-turns.ts'
import { isSameFile, type FileIdentity } from './cni-request.ts'

/** What all calls share. */
export interface ServedHost {
  readonly addon: NativeAddon
  readonly kernels: KernelHost
  readonly ipam: Ipam
  /** The socket of this daemon, as its configuration names it. */
  readonly socketPath: string
  /** The socket beside which the locks of the node are, whatever sockets its configurations name. */
  readonly lockSocketPath: string
  readonly turns: AttachmentTurns
  readonly nowUnixMs: () => number
}

/** What is known of one call. */
export interface ServedCall {
  readonly podNetns: FileIdentity | undefined
  readonly log: (line: string) => void
}

/** The edges of one run of the plugin that the daemon does for it: its own leases, and the kernel off the event loop. */
export function servedEdges(host: ServedHost, call: ServedCall): Edges {
  const { addon, socketPath } = host
  return {
    admit({ own }) {
      if (own.ipam.kind !== 'tulle')
        throw new Declined('delegated-ipam', `only the node itself can run the IPAM plugin ${own.ipam.type}`)
      if (own.ipam.socketPath !== socketPath)
        throw new Declined('other-ipamd', `the configuration names the ipamd of ${own.ipam.socketPath}`)
    },
    openKernel(podNetnsPath) {
      const pod = podNetnsPath === undefined ? undefined : openSame(addon, podNetnsPath, call.podNetns)
      return openLinuxKernelIn(addon, { pod, host: host.kernels })
    },
    ipam: () => host.ipam,
    delegate: ({ type }) => Promise.reject(new Error(`the daemon does not run ${type}: its calls are declined`)),
    lock: (attachment, by) =>
      host.turns.take(
        attachment,
        () => takeAttachmentLock(attachment, { addon, socketPath: host.lockSocketPath, by }),
        by,
      ),
    spoolRelease,
    keepExposure: exposure => keepExposure(host.lockSocketPath, exposure),
    dropExposure: attachment => dropExposure(host.lockSocketPath, attachment),
    nowUnixMs: host.nowUnixMs,
    log: call.log,
  }
}

/** Opens the namespace at `path`, if it is the one that the launcher saw there: the daemon may see other mounts and processes. */
function openSame(addon: NativeAddon, path: string, seen: FileIdentity | undefined): NetnsHandle {
  const found = openOrDecline(addon, path)
  if (isSameFile(found, seen)) return found
  closeSync(found.fd)
  throw new Declined('other-namespace', `${path} is another namespace here than where the plugin runs`)
}

function openOrDecline(addon: NativeAddon, path: string): NetnsHandle {
  try {
    return addon.openNetns(path)
  } catch (cause) {
    if (!isNativeError(cause)) throw cause
    // Perhaps only here: the plugin itself says it better.
    throw new Declined('other-namespace', `${path} cannot be opened here: ${cause.message}`, { cause })
  }
}

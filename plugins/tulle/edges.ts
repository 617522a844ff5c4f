import type { Edges } from '../../lib/attach/edges.ts'
import { NetnsError } from '../../lib/attach/edges.ts'
import { DEFAULT_SOCKET_PATH } from '../../lib/cni/tulle-configuration.ts'
import { traceContextOfEnv } from '../../lib/ipam/trace-context.ts'
import { openLinuxKernel } from '../../lib/kernel/linux-kernel.ts'
import { isNativeError } from '../../lib/kernel/native-error.ts'
import { askerOf } from '../../lib/os/asker.ts'
import { takeAttachmentLock } from '../../lib/os/attachment-lock.ts'
import { runDelegate } from '../../lib/os/delegate.ts'
import { dropExposure, keepExposure } from '../../lib/os/exposure-files.ts'
import { IpamClient } from '../../lib/os/ipam-client.ts'
import { spoolRelease } from '../../lib/os/spool.ts'
import type { NativeAddon } from '../../native/addon.ts'

/** What the executable brings to the engine: its own environment, the running kernel, and standard error as its log. */
export interface Surroundings {
  readonly env: NodeJS.ProcessEnv
  readonly addon: NativeAddon
  readonly log: (line: string) => void
}

/** The edges of a run of the executable. */
export function executableEdges({ env, addon, log }: Surroundings): Edges {
  return {
    openKernel(podNetnsPath) {
      try {
        return openLinuxKernel(addon, { podNetnsPath, exchange: 'sync' })
      } catch (cause) {
        if (podNetnsPath === undefined || !isNativeError(cause)) throw cause
        throw new NetnsError(podNetnsPath, { reason: cause.message, cause })
      }
    },
    ipam: socketPath =>
      new IpamClient(socketPath, { asker: () => askerOf('tulle', addon), trace: traceContextOfEnv(env) }),
    delegate: (call, by) => runDelegate(call, { env, by }),
    // Always beside the default socket: whatever the configurations of a node say, they must share the locks.
    lock: (attachment, by) => takeAttachmentLock(attachment, { addon, socketPath: DEFAULT_SOCKET_PATH, by }),
    spoolRelease,
    keepExposure: exposure => keepExposure(DEFAULT_SOCKET_PATH, exposure),
    dropExposure: attachment => dropExposure(DEFAULT_SOCKET_PATH, attachment),
    nowUnixMs: () => Date.now(),
    log,
  }
}

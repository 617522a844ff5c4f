import process from 'node:process'
import { DEFAULT_SOCKET_PATH } from '../../lib/cni/tulle-configuration.ts'
import { traceContextOfEnv } from '../../lib/ipam/trace-context.ts'
import { askerOf } from '../../lib/os/asker.ts'
import { takeAttachmentLock } from '../../lib/os/attachment-lock.ts'
import { IpamClient } from '../../lib/os/ipam-client.ts'
import { printOutcome, runOfProcess, stderrLog } from '../../lib/os/plugin-process.ts'
import { spoolRelease } from '../../lib/os/spool.ts'
import { loadAddon } from '../../native/addon.ts'
import { run } from './run.ts'

/** The delegated IPAM plugin: one run, from the environment and standard input to one document and an exit code. */
export async function main({ addonPath }: { readonly addonPath: string }): Promise<void> {
  const addon = loadAddon(addonPath)
  const trace = traceContextOfEnv(process.env)
  const outcome = await run(runOfProcess(process.env, addon), {
    ipam: socketPath => new IpamClient(socketPath, { asker: () => askerOf('tulle-ipam', addon), trace }),
    // Always beside the default socket: whatever the configurations of a node say, they must share the locks.
    lock: (attachment, by) => takeAttachmentLock(attachment, { addon, socketPath: DEFAULT_SOCKET_PATH, by }),
    spoolRelease,
    nowUnixMs: () => Date.now(),
    log: stderrLog('tulle-ipam', trace),
  })
  printOutcome(outcome)
  process.exitCode = outcome.exitCode
}

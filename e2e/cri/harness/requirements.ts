import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { userInfo } from 'node:os'
import { promisify } from 'node:util'
import { whyNoCgroups } from './cgroup.ts'

const PROBE_MS = 10_000

/** Why no pod sandbox can run on this machine; undefined when it can. A missing package is a fault to repair, not a reason. */
export async function whyNoSandboxes(): Promise<string | undefined> {
  if (userInfo().uid !== 0) return 'needs root'
  return (await whyNoNamespaces()) ?? (await whyNoCgroups(`tulle-cri-probe-${randomUUID()}`))
}

async function whyNoNamespaces(): Promise<string | undefined> {
  const probe = ['--mount', '--net', '--pid', '--fork', '--mount-proc', 'mount', '-t', 'tmpfs', 'tmpfs', '/run']
  try {
    await promisify(execFile)('unshare', probe, { timeout: PROBE_MS })
    return undefined
  } catch (error) {
    // 1 is unshare's or mount's own refusal by the kernel; anything else, such as a missing executable, is no property of the machine.
    if (error instanceof Error && 'code' in error && typeof error.code === 'number') return error.message.trim()
    throw error
  }
}

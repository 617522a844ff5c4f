import { stat } from 'node:fs/promises'
import { whyNoSandboxes } from '../cri/harness/requirements.ts'

/** Why no Docker engine, and so no kind, can run on this machine; undefined when it can. A missing program is a fault, not a reason. */
export async function whyNoKind(): Promise<string | undefined> {
  const reason = await whyNoSandboxes()
  if (reason !== undefined) return reason
  // systemd, which kind's nodes run, wants a hierarchy of its own.
  const hasHierarchy = await Promise.all(
    ['/sys/fs/cgroup/systemd', '/sys/fs/cgroup/cgroup.controllers'].map(path =>
      stat(path).then(
        () => true,
        () => false,
      ),
    ),
  )
  return hasHierarchy.includes(true) ? undefined : 'this machine has no cgroup hierarchy for systemd'
}

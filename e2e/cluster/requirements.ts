import { readdir } from 'node:fs/promises'
import { whyNoSandboxes } from '../cri/harness/requirements.ts'

/** Why no cluster in namespaces can run on this machine; undefined when it can. A missing program is a fault, not a reason. */
export async function whyNoCluster(): Promise<string | undefined> {
  const reason = await whyNoSandboxes()
  if (reason !== undefined) return reason
  // With cgroup v2 alone a node would have to share controllers out among its own groups, which node-init.sh does not do.
  const isV2Only = (await readdir('/sys/fs/cgroup')).includes('cgroup.controllers')
  return isV2Only ? 'this machine has cgroup v2 alone' : undefined
}

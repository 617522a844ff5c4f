import { cp, mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Cluster } from '../e2e/cluster/namespaces/cluster.ts'
import { ROOT } from './paths.ts'

/** Logs of the last cluster: kept, so that a failure can be looked into after the cluster is gone. */
const LOGS = join(ROOT, '.cache', 'e2e', 'logs')

/** Copies the logs of a cluster's nodes and control plane to `.cache/e2e/logs`. */
export async function keepLogs({ description }: Cluster): Promise<void> {
  await rm(LOGS, { recursive: true, force: true })
  for (const name of await readdir(description.stateFolder)) {
    const from = join(description.stateFolder, name, 'logs')
    await mkdir(LOGS, { recursive: true })
    await cp(from, join(LOGS, name), { recursive: true }).catch((cause: unknown) => {
      // Only nodes and the control plane have logs.
      if (!(cause instanceof Error && 'code' in cause && (cause.code === 'ENOENT' || cause.code === 'ENOTDIR')))
        throw cause
    })
  }
}

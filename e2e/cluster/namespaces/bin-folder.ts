import { mkdir, readdir, symlink } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { debianParts } from '../../parts/debian.ts'
import { linkIptables } from '../../parts/iptables.ts'
import { containerdParts, kubernetesParts } from '../../parts/kubernetes.ts'
import { SYSTEM_PATH } from './machine.ts'

/**
 * Puts links to every program that a cluster runs into a new folder.
 *
 * @returns the environment in which they are found and work.
 * @throws what the parts throw that cannot be had.
 */
export async function makeBinFolder(folder: string): Promise<Readonly<Record<string, string>>> {
  await mkdir(folder, { recursive: true })
  const kubernetes = await kubernetesParts()
  const { containerd, ctr, shim } = await containerdParts()
  const runc = await debianParts(['runc'])
  const files = [
    ...(await readdir(kubernetes)).map(name => join(kubernetes, name)),
    containerd,
    ctr,
    shim,
    join(runc, 'usr/sbin/runc'),
  ]
  for (const file of files) await symlink(file, join(folder, basename(file)))
  return {
    PATH: `${folder}:${SYSTEM_PATH}`,
    HOME: '/root',
    CONTAINERD_ADDRESS: '/run/containerd/containerd.sock',
    ...(await linkIptables(folder)),
  }
}

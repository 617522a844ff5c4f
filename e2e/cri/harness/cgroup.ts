import { mkdir, readdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'

const CGROUP_ROOT = '/sys/fs/cgroup'

/** The mounted hierarchies: the folders of a v1 or hybrid machine, or the one root of v2. */
async function hierarchies(): Promise<readonly string[]> {
  const entries = await readdir(CGROUP_ROOT, { withFileTypes: true })
  const isV2 = entries.some(entry => entry.name === 'cgroup.controllers')
  return isV2 ? [CGROUP_ROOT] : entries.filter(entry => entry.isDirectory()).map(entry => join(CGROUP_ROOT, entry.name))
}

/** Tries to make the cgroup `probe` in every hierarchy. @returns why that is impossible here; undefined when it worked. */
export async function whyNoCgroups(probe: string): Promise<string | undefined> {
  try {
    for (const hierarchy of await hierarchies()) {
      await mkdir(join(hierarchy, probe))
      await rmdir(join(hierarchy, probe))
    }
    return undefined
  } catch (error) {
    return `cannot make a cgroup: ${String(error)}`
  }
}

/** The cgroups named `name` that exist, one for each hierarchy. */
export async function findCgroups(name: string): Promise<readonly string[]> {
  const found: string[] = []
  for (const hierarchy of await hierarchies()) {
    if ((await readdir(hierarchy)).includes(name)) found.push(join(hierarchy, name))
  }
  return found
}

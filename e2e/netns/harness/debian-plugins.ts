import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { debianParts } from '../../parts/debian.ts'
import { linkIptables } from '../../parts/iptables.ts'

/** Debian's reference plugins, and what they need. */
export interface DebianPlugins {
  /** One folder, with ptp, host-local, portmap and the others. */
  readonly cniPath: readonly string[]
  /** Environment in which they find iptables, for portmap. */
  readonly env: Readonly<Record<string, string>>
}

/** Unpacks Debian's reference plugins, with an iptables for portmap, which `workFolder` gets links to. */
export async function debianPlugins(workFolder: string): Promise<DebianPlugins> {
  const plugins = await debianParts(['containernetworking-plugins'])
  const links = join(workFolder, 'iptables-bin')
  await mkdir(links)
  const libraries = await linkIptables(links)
  return {
    cniPath: [join(plugins, 'usr/lib/cni')],
    env: { PATH: `${links}:${process.env['PATH'] ?? ''}`, ...libraries },
  }
}

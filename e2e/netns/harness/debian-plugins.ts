import { mkdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { debianParts } from '../../parts/debian.ts'

/** Debian's reference plugins, and what they need. */
export interface DebianPlugins {
  /** One folder, with ptp, host-local, portmap and the others. */
  readonly cniPath: readonly string[]
  /** Environment in which they find iptables, for portmap. */
  readonly env: Readonly<Record<string, string>>
}

/**
 * Unpacks Debian's reference plugins, with an iptables for portmap.
 *
 * Debian sets the names iptables and ip6tables when the package is installed (update-alternatives), so here links with these
 * names are made in `workFolder`.
 */
export async function debianPlugins(workFolder: string): Promise<DebianPlugins> {
  const plugins = await debianParts(['containernetworking-plugins'])
  const iptables = await debianParts(IPTABLES_PACKAGES)
  const links = join(workFolder, 'iptables-bin')
  await mkdir(links)
  for (const name of [
    'iptables',
    'ip6tables',
    'iptables-save',
    'iptables-restore',
    'ip6tables-save',
    'ip6tables-restore',
  ]) {
    await symlink(join(iptables, 'usr/sbin/xtables-nft-multi'), join(links, name))
  }
  return {
    cniPath: [join(plugins, 'usr/lib/cni')],
    env: {
      PATH: `${links}:${process.env['PATH'] ?? ''}`,
      LD_LIBRARY_PATH: join(iptables, 'usr/lib', multiarchFolder()),
      XTABLES_LIBDIR: join(iptables, 'usr/lib', multiarchFolder(), 'xtables'),
    },
  }
}

/** iptables and every library that it needs and a small machine may lack. */
const IPTABLES_PACKAGES = [
  'iptables',
  'libip4tc2',
  'libip6tc2',
  'libmnl0',
  'libnetfilter-conntrack3',
  'libnfnetlink0',
  'libnftnl11',
  'libxtables12',
]

/** @throws {Error} on a processor that Tulle is not built for. */
function multiarchFolder(): string {
  if (process.arch === 'x64') return 'x86_64-linux-gnu'
  if (process.arch === 'arm64') return 'aarch64-linux-gnu'
  throw new Error(`No Debian folder name known for ${process.arch}: want x64 or arm64`)
}

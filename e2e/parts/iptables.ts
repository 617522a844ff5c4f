import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { debianParts } from './debian.ts'

/** iptables and conntrack, and every library of theirs that a small machine may lack. */
const PACKAGES = [
  'conntrack',
  'iptables',
  'libip4tc2',
  'libip6tc2',
  'libmnl0',
  'libnetfilter-conntrack3',
  'libnfnetlink0',
  'libnftnl11',
  'libxtables12',
]

const IPTABLES_NAMES = ['iptables', 'ip6tables'].flatMap(name => [name, `${name}-save`, `${name}-restore`])

/** The environment in which what `linkIptables()` linked finds its libraries. */
export interface IptablesEnvironment {
  readonly LD_LIBRARY_PATH: string
  readonly XTABLES_LIBDIR: string
}

/**
 * Puts links to Debian's iptables (the one on nf_tables) and conntrack, unpacked and never installed, into `folder`.
 *
 * Debian sets the names iptables and ip6tables when the package is installed (update-alternatives): the links have them.
 */
export async function linkIptables(folder: string): Promise<IptablesEnvironment> {
  const root = await debianParts(PACKAGES)
  for (const name of IPTABLES_NAMES) await symlink(join(root, 'usr/sbin/xtables-nft-multi'), join(folder, name))
  await symlink(join(root, 'usr/sbin/conntrack'), join(folder, 'conntrack'))
  const libraries = join(root, 'usr/lib', multiarchFolder())
  return { LD_LIBRARY_PATH: libraries, XTABLES_LIBDIR: join(libraries, 'xtables') }
}

/** The folder below usr/lib in which Debian has libraries. @throws {Error} on a processor that Tulle is not built for. */
export function multiarchFolder(): string {
  if (process.arch === 'x64') return 'x86_64-linux-gnu'
  if (process.arch === 'arm64') return 'aarch64-linux-gnu'
  throw new Error(`No Debian folder name known for ${process.arch}: want x64 or arm64`)
}

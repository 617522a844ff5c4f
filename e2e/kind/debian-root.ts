import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { cached } from '../parts/cache.ts'
import { runCommand } from '../parts/command.ts'
import { debianParts } from '../parts/debian.ts'
import { outside } from '../parts/outside.ts'

/** The release, not the machine's own: systemd of later ones refuses to start on cgroup v1. */
const SUITE = 'bookworm'
const ARCHIVE = 'http://deb.debian.org/debian'
const DEBOOTSTRAP_MS = 900_000

/**
 * Returns a folder with Debian and `packages`, configured: what a machine would have whose installer had just ended.
 *
 * Made once for each list of packages and kept in the cache.
 *
 * @throws {CommandError} with debootstrap's words.
 */
export async function debianRoot(packages: readonly string[]): Promise<string> {
  const names = packages.toSorted().join(',')
  const key = createHash('sha256').update(`${SUITE}\n${process.arch}\n${names}`).digest('hex').slice(0, 16)
  const folder = await cached({ kind: 'debian-root', key }, async temporary => {
    const tool = await debianParts(['debootstrap'])
    const share = join(tool, 'usr/share/debootstrap')
    await runCommand(
      outside([
        'env',
        `DEBOOTSTRAP_DIR=${share}`,
        join(tool, 'usr/sbin/debootstrap'),
        '--variant=minbase',
        `--include=${names}`,
        SUITE,
        join(temporary, 'root'),
        ARCHIVE,
      ]),
      { timeoutMs: DEBOOTSTRAP_MS },
    )
  })
  return join(folder, 'root')
}

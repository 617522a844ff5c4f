import type { ClusterProvider } from '../../cluster/provider.ts'
import type { Daemons } from './daemons.ts'

const STATE = '/var/lib/tulle'
const SMALL = '/run/tulle-small-disk'
const SIZE = '16m'

/** Whose disk. */
export interface DiskPlace {
  readonly provider: ClusterProvider
  readonly daemons: Daemons
  readonly nodeName: string
}

/**
 * Runs `body` while ipamd of a node keeps its state on a small file system of its own; then the state is where it was before.
 *
 * @throws {Error} when ipamd does not use it, or what `body` throws.
 */
export async function withSmallDisk(
  { provider, daemons, nodeName }: DiskPlace,
  body: () => Promise<void>,
): Promise<void> {
  const run = async (script: string): Promise<string> =>
    provider.exec(nodeName, ['bash', '-euc', script, 'bash', STATE, SMALL, SIZE])
  await run('mkdir -p "$2"; mount -t tmpfs -o "size=$3,mode=700" tmpfs "$2"')
  // Between the end of the old container and the start of the new one, which sees what is mounted by then.
  await daemons.kill(nodeName, 'ipamd', async () => void (await run('cp -a "$1/." "$2"; mount --bind "$2" "$1"')))
  try {
    await isUsed(provider, nodeName)
    await body()
  } finally {
    await daemons.kill(
      nodeName,
      'ipamd',
      async () => void (await run('umount "$1"; rm -rf "$1"/*; cp -a "$2/." "$1"; umount "$2"; rmdir "$2"')),
    )
  }
}

/** Fills the small disk to the last byte. */
export async function fillDisk(provider: ClusterProvider, nodeName: string): Promise<{ remove(): Promise<void> }> {
  const filler = `${STATE}/filler`
  // dd ends with an error when the disk is full, as it should be.
  await provider.exec(nodeName, [
    'bash',
    '-c',
    'dd if=/dev/zero of="$0" bs=4096 status=none 2>/dev/null; test -s "$0"',
    filler,
  ])
  return { remove: async () => void (await provider.exec(nodeName, ['rm', filler])) }
}

/** A container that was started too early would go on with the old disk, and the test would prove nothing. */
async function isUsed(provider: ClusterProvider, nodeName: string): Promise<void> {
  // The brackets keep pgrep from finding this shell, which names ipamd too.
  const pids = "$(pgrep -f 'ipam[d] --config')"
  const script = `for pid in ${pids}; do grep -q " $0 .* - tmpfs " "/proc/$pid/mountinfo" && exit 0; done; exit 1`
  await provider.exec(nodeName, ['bash', '-c', script, STATE])
}

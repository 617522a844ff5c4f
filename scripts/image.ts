import { copyFile, cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { runCommand } from '../e2e/parts/command.ts'
import { writeImageArchive } from '../e2e/parts/oci-image.ts'
import { buildAll } from './build.ts'
import { BIN, ROOT } from './paths.ts'

/** The name in deploy/tulle.yaml. A tag other than `latest`, so that a kubelet uses the image that is there. */
export const IMAGE = 'tulle:dev'
const ARCHIVE = join(ROOT, 'dist', 'tulle-image.tar')

/**
 * `npm run image`: writes dist/tulle-image.tar, an OCI archive for `ctr images import`, `kind load image-archive` and
 * `docker load`, where there is no registry and no Docker. With `--root FOLDER` it writes the files of the image there
 * instead: the Dockerfile makes its image of them, so that both are the same.
 *
 * The image holds the executables and glibc: no shell, no package manager, nothing to update but Tulle.
 */
async function image(args: readonly string[]): Promise<void> {
  const { values } = parseArgs({ args: [...args], options: { root: { type: 'string' } } })
  const complaints = await buildAll()
  if (complaints !== '') throw new Error(complaints)
  if (values.root !== undefined) return void (await writeRoot(resolve(values.root)))
  process.stdout.write(`${await writeTulleImage(ARCHIVE)}\n`)
}

/** Writes the archive, of what is in dist/bin, and returns its path. */
export async function writeTulleImage(archive: string): Promise<string> {
  const scratch = await mkdtemp(join(tmpdir(), 'tulle-image-'))
  try {
    await writeRoot(scratch)
    await mkdir(dirname(archive), { recursive: true })
    await writeImageArchive(
      {
        name: `docker.io/library/${IMAGE}`,
        rootFolder: scratch,
        entrypoint: ['tullectl'],
        env: ['PATH=/opt/tulle/bin'],
      },
      archive,
    )
    return archive
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

async function writeRoot(root: string): Promise<void> {
  const bin = join(root, 'opt/tulle/bin')
  await mkdir(bin, { recursive: true })
  await cp(BIN, bin, { recursive: true, verbatimSymlinks: true })
  for (const library of await glibcOf(join(BIN, 'tulle-node'))) {
    await mkdir(dirname(join(root, library)), { recursive: true })
    await copyFile(library, join(root, library))
  }
  for (const folder of ['etc', 'run', 'tmp', 'var']) await mkdir(join(root, folder), { recursive: true })
  // Runtimes name the namespaces of pods by /var/run/netns.
  await symlink('/run', join(root, 'var/run'))
}

/** The parts of glibc that the executable is linked with, its loader included: what it does not bring along in lib/. */
async function glibcOf(executable: string): Promise<readonly string[]> {
  const lines = (await runCommand(['ldd', executable])).split('\n')
  const paths = lines.map(line => /(?:=> )?(\/\S+) \(0x/.exec(line)?.[1]).filter(path => path !== undefined)
  return paths.filter(path => !path.startsWith(BIN))
}

if (import.meta.main) await image(process.argv.slice(2))

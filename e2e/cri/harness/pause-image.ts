import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runCommand } from '../../parts/command.ts'
import { writeImageArchive } from '../../parts/oci-image.ts'

/** The image's name in containerd. The registry does not exist: the image must be found, never pulled. */
export const PAUSE_IMAGE = 'registry.invalid/tulle/pause:1'

const PAUSE_SOURCE = join(import.meta.dirname, 'pause.c')
const COMPILE_MS = 20_000

/** What the image is called; PAUSE_IMAGE and nothing else when absent. */
export interface PauseNames {
  readonly name?: string
  readonly aliases?: readonly string[]
}

/** Writes the sandbox image as an archive for `ctr images import`. The same compiler gives the same bytes. */
export async function writePauseImage(archiveFile: string, names: PauseNames = {}): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tulle-pause-'))
  try {
    const rootFolder = join(folder, 'root')
    await mkdir(rootFolder)
    const flags = ['-Os', '-s', '-static', '-nostdlib', '-ffreestanding', '-fno-stack-protector', '-Wl,--build-id=none']
    await runCommand(['gcc', ...flags, '-o', join(rootFolder, 'pause'), PAUSE_SOURCE], { timeoutMs: COMPILE_MS })
    await writeImageArchive({ name: PAUSE_IMAGE, ...names, rootFolder, entrypoint: ['/pause'] }, archiveFile)
  } finally {
    await rm(folder, { recursive: true })
  }
}

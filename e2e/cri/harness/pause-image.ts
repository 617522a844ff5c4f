import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { arch, tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** The image's name in containerd. The registry does not exist: the image must be found, never pulled. */
export const PAUSE_IMAGE = 'registry.invalid/tulle/pause:1'

const PAUSE_SOURCE = join(import.meta.dirname, 'pause.c')
const COMPILE_MS = 20_000
const TAR_BLOCK_BYTES = 512

interface TarFile {
  readonly name: string
  readonly mode: number
  readonly content: Buffer
}

/** The sandbox image as an OCI image layout in a tar file, for `ctr images import`. The same sources give the same bytes. */
export async function pauseImage(): Promise<Buffer> {
  const layer = tar([{ name: 'pause', mode: 0o755, content: await compilePause() }])
  const config = json({
    architecture: arch() === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: { Entrypoint: ['/pause'] },
    rootfs: { type: 'layers', diff_ids: [digest(layer)] },
  })
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: descriptor('application/vnd.oci.image.config.v1+json', config),
    layers: [descriptor('application/vnd.oci.image.layer.v1.tar', layer)],
  })
  const index = {
    ...descriptor('application/vnd.oci.image.manifest.v1+json', manifest),
    annotations: { 'io.containerd.image.name': PAUSE_IMAGE },
  }
  return tar([
    { name: 'oci-layout', mode: 0o644, content: json({ imageLayoutVersion: '1.0.0' }) },
    { name: 'index.json', mode: 0o644, content: json({ schemaVersion: 2, manifests: [index] }) },
    ...[layer, config, manifest].map(content => ({ name: blobName(content), mode: 0o644, content })),
  ])
}

async function compilePause(): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), 'tulle-pause-'))
  try {
    const flags = ['-Os', '-s', '-static', '-nostdlib', '-ffreestanding', '-fno-stack-protector', '-Wl,--build-id=none']
    const file = join(folder, 'pause')
    await promisify(execFile)('gcc', [...flags, '-o', file, PAUSE_SOURCE], { timeout: COMPILE_MS })
    return await readFile(file)
  } finally {
    await rm(folder, { recursive: true })
  }
}

function tar(files: readonly TarFile[]): Buffer {
  const parts = files.flatMap(file => [tarHeader(file), file.content, Buffer.alloc(-file.content.length & 511)])
  return Buffer.concat([...parts, Buffer.alloc(2 * TAR_BLOCK_BYTES)])
}

/** A ustar header (POSIX.1-1988): owner root, time 0. */
function tarHeader({ name, mode, content }: TarFile): Buffer {
  const header = Buffer.alloc(TAR_BLOCK_BYTES)
  header.write(name, 0)
  header.write(
    `${octal(mode, 7)}\0${octal(0, 7)}\0${octal(0, 7)}\0${octal(content.length, 11)}\0${octal(0, 11)}\0`,
    100,
  )
  header.write('        0', 148) // the checksum is taken over blanks; type "0" is a plain file
  header.write('ustar\u000000', 257)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${octal(sum, 6)}\0 `, 148)
  return header
}

function descriptor(mediaType: string, content: Buffer): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest: digest(content), size: content.length }
}

function digest(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`
}

function blobName(content: Buffer): string {
  return `blobs/${digest(content).replace(':', '/')}`
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value))
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0')
}

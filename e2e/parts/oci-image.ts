import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { runCommand } from './command.ts'

const TAR_TIMEOUT_MS = 300_000
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'

/** An image of one layer. */
export interface ImageSource {
  /** The name under which a runtime finds it, with a tag other than `latest`: kubelet would try to pull that. */
  readonly name: string
  /** Further names of the same image. */
  readonly aliases?: readonly string[]
  /** The folder that becomes the root of the container; owned by root there, whoever owns it here. */
  readonly rootFolder: string
  readonly entrypoint: readonly string[]
  readonly cmd?: readonly string[]
  readonly env?: readonly string[]
  readonly workingDir?: string
}

interface Blob {
  readonly digest: string
  readonly size: number
}

/**
 * Writes `image` as an OCI image layout in a tar file, for `ctr images import`: what a registry would serve, where there is
 * none. The same files give the same bytes.
 */
export async function writeImageArchive(image: ImageSource, archiveFile: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tulle-image-'))
  try {
    await writeLayout(image, folder)
    await tar(folder, archiveFile)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

async function writeLayout(image: ImageSource, folder: string): Promise<void> {
  await mkdir(join(folder, 'blobs', 'sha256'), { recursive: true })
  const layer = await addLayer(image.rootFolder, folder)
  const config = await addJson(folder, {
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: {
      Entrypoint: image.entrypoint,
      Cmd: image.cmd ?? [],
      Env: image.env ?? ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      WorkingDir: image.workingDir ?? '/',
    },
    rootfs: { type: 'layers', diff_ids: [layer.digest] },
  })
  const manifest = await addJson(folder, {
    schemaVersion: 2,
    mediaType: MANIFEST_TYPE,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...layer }],
  })
  const manifests = [image.name, ...(image.aliases ?? [])].map(name => ({
    mediaType: MANIFEST_TYPE,
    ...manifest,
    annotations: { 'io.containerd.image.name': name },
  }))
  await writeFile(join(folder, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests }))
  await writeFile(join(folder, 'oci-layout'), JSON.stringify({ imageLayoutVersion: '1.0.0' }))
}

async function addLayer(rootFolder: string, folder: string): Promise<Blob> {
  const file = join(folder, 'layer.tar')
  await tar(rootFolder, file)
  const hash = createHash('sha256')
  await pipeline(createReadStream(file), hash)
  const digest = hash.digest('hex')
  const { size } = await stat(file)
  await rename(file, join(folder, 'blobs', 'sha256', digest))
  return { digest: `sha256:${digest}`, size }
}

async function addJson(folder: string, value: unknown): Promise<Blob> {
  const content = JSON.stringify(value)
  const digest = createHash('sha256').update(content).digest('hex')
  await writeFile(join(folder, 'blobs', 'sha256', digest), content)
  return { digest: `sha256:${digest}`, size: Buffer.byteLength(content) }
}

/** Order, times and owners are fixed, so that the bytes depend on the files alone. */
async function tar(folder: string, file: string): Promise<void> {
  const fixed = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--format=gnu']
  await runCommand(['tar', ...fixed, '--create', `--file=${file}`, `--directory=${folder}`, '.'], {
    timeoutMs: TAR_TIMEOUT_MS,
  })
}

import { createHash } from 'node:crypto'
import { chmod, cp, mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { writePauseImage } from '../cri/harness/pause-image.ts'
import { assertIsolated } from '../netns/harness/isolation.ts'
import { cached } from '../parts/cache.ts'
import { runCommand } from '../parts/command.ts'
import { containerdParts, kubernetesParts, KUBERNETES_VERSION } from '../parts/kubernetes.ts'
import { writeControlPlaneImages } from './control-plane-images.ts'
import { debianRoot } from './debian-root.ts'
import { kindNodeFiles, nodeTools } from './kind-parts.ts'

/** What kind's base image installs, without network file systems. */
const PACKAGES = `
  systemd systemd-sysv conntrack iptables nftables iproute2 ethtool util-linux mount kmod
  libseccomp2 pigz e2fsprogs bash ca-certificates curl jq procps runc
`

/** What kind's base image removes from Debian: services that have no business in a container. */
const LEFT_OUT = [
  './usr/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service',
  ...['multi-user', 'local-fs', 'basic'].map(target => `./usr/lib/systemd/system/${target}.target.wants/*`),
  ...['udev', 'initctl'].map(name => `./usr/lib/systemd/system/sockets.target.wants/*${name}*`),
  ...['getty', 'sysinit', 'timers'].map(target => `./etc/systemd/system/${target}.target.wants/*`),
  './etc/systemd/system/multi-user.target.wants/e2scrub_reap.service',
  './etc/systemd/system/multi-user.target.wants/remote-fs.target',
  './usr/share/doc/*',
  './usr/share/man/*',
  './var/cache/apt/*',
  './var/lib/apt/lists/*',
  './var/log/*',
]

const TAR_MS = 300_000
const ENABLED = ['containerd', 'kind-images', 'kubelet', 'undo-mount-hacks'] as const

/** kubeadm and containerd of kind's nodes are pointed at this name; nobody pulls it. */
const SANDBOX_IMAGE = 'registry.k8s.io/pause:3.10'

/**
 * Returns a root file system in a tar file, for `docker import`: a node of kind as `kindest/node` is one, for machines that
 * reach no registry. Debian, systemd, kind's own files, containerd, Kubernetes, and archives of the images that kubeadm wants.
 *
 * Different from kindest/node: images are imported when the node starts; and nothing lowers an OOM score, which takes
 * CAP_SYS_RESOURCE.
 */
export async function kindNodeArchive(): Promise<string> {
  const folders = await nodeFolders()
  const recipe = await Promise.all(
    ['node-image.ts', 'control-plane-images.ts'].map(file => readFile(join(import.meta.dirname, file))),
  )
  const hash = createHash('sha256').update(JSON.stringify(folders))
  for (const text of recipe) hash.update(text)
  const key = `${KUBERNETES_VERSION}-${hash.digest('hex').slice(0, 16)}`
  const folder = await cached({ kind: 'kind-node', key }, async temporary => {
    const added = await mkdtemp(join(temporary, 'added-'))
    await addFiles(added, folders)
    await addImages(join(added, 'kind/images'), temporary, join(folders.kubernetes, 'kubeadm'))
    await packRoot(folders.debian, added, join(temporary, 'node.tar'))
    await rm(added, { recursive: true })
  })
  return join(folder, 'node.tar')
}

interface NodeFolders {
  readonly debian: string
  readonly files: string
  readonly kubernetes: string
  readonly containerd: Awaited<ReturnType<typeof containerdParts>>
  readonly tools: Awaited<ReturnType<typeof nodeTools>>
}

/** All that goes in, by the paths of the cache: they have the versions in their names. */
async function nodeFolders(): Promise<NodeFolders> {
  return {
    debian: await debianRoot(PACKAGES.trim().split(/\s+/)),
    files: await kindNodeFiles(),
    kubernetes: await kubernetesParts(),
    containerd: await containerdParts(),
    tools: await nodeTools(),
  }
}

async function addFiles(root: string, from: NodeFolders): Promise<void> {
  await cp(from.files, root, { recursive: true })
  for (const folder of ['usr/local/bin', 'kind/bin']) {
    for (const name of await readdir(join(root, folder))) await chmod(join(root, folder, name), 0o755)
  }
  const { containerd, ctr, shim } = from.containerd
  for (const file of [containerd, ctr, shim]) await install(file, join(root, 'usr/local/bin'))
  for (const [file, folder] of from.tools) await install(file, join(root, folder))
  for (const name of ['kubeadm', 'kubectl', 'kubelet'])
    await install(join(from.kubernetes, name), join(root, 'usr/bin'))
  await write(root, 'kind/version', KUBERNETES_VERSION)
  await mkdir(join(root, 'etc/kubernetes/manifests'), { recursive: true })
  await configureSystemd(root)
  await configureContainerd(root, ctr)
  // Without it kind applies a storage class whose provisioner would have to be pulled.
  await write(root, 'kind/manifests/default-storage.yaml', NO_STORAGE)
}

async function configureSystemd(root: string): Promise<void> {
  await write(root, 'etc/systemd/journald.conf.d/kind.conf', '[Journal]\nReadKMsg=no\n')
  await write(root, 'etc/systemd/system/containerd.service.d/score.conf', '[Service]\nOOMScoreAdjust=\n')
  await write(root, 'etc/systemd/system/kind-images.service', IMPORT_UNIT)
  await write(root, 'kind/bin/import-images.sh', IMPORT_SCRIPT)
  await chmod(join(root, 'kind/bin/import-images.sh'), 0o755)
  const wants = join(root, 'etc/systemd/system/multi-user.target.wants')
  await mkdir(wants, { recursive: true })
  for (const name of ENABLED) await symlink(`/etc/systemd/system/${name}.service`, join(wants, `${name}.service`))
  await symlink('/dev/null', join(root, 'etc/systemd/system/systemd-binfmt.service'))
}

/** As kind's base image does: containers learn the node's product files, and get no limits of their own. */
async function configureContainerd(root: string, ctr: string): Promise<void> {
  const spec = JSON.parse(await runCommand([ctr, 'oci', 'spec'])) as {
    process: { rlimits?: unknown }
    hooks?: object
  }
  delete spec.process.rlimits
  spec.hooks = { ...spec.hooks, createContainer: [{ path: '/kind/bin/mount-product-files.sh' }] }
  await write(root, 'etc/containerd/cri-base.json', JSON.stringify(spec))
  const file = 'etc/containerd/config.toml'
  const config = await readFile(join(root, file), 'utf8')
  await write(root, file, config.replace('restrict_oom_score_adj = false', 'restrict_oom_score_adj = true'))
}

async function addImages(folder: string, scratch: string, kubeadmFile: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const command = [kubeadmFile, 'config', 'images', 'list', '--kubernetes-version', KUBERNETES_VERSION] as const
  const wanted = (await runCommand(command)).trim().split('\n')
  const images = await mkdtemp(join(scratch, 'images-'))
  await writeControlPlaneImages(wanted, folder, images)
  await writePauseImage(join(folder, 'pause.tar'), { name: SANDBOX_IMAGE })
  await rm(images, { recursive: true })
}

/** Packs `below` with what `above` has over it. dockerd takes no archive that names a path twice: the kernel merges them. */
async function packRoot(below: string, above: string, file: string): Promise<void> {
  assertIsolated('a mount')
  const merged = await mkdtemp(join(dirname(file), 'merged-'))
  await runCommand(['mount', '-t', 'overlay', '-o', `ro,lowerdir=${above}:${below}`, 'overlay', merged])
  try {
    const leftOut = LEFT_OUT.map(path => `--exclude=${path}`)
    await runCommand(
      ['tar', '--create', `--file=${file}`, '--numeric-owner', ...leftOut, `--directory=${merged}`, '.'],
      {
        timeoutMs: TAR_MS,
      },
    )
  } finally {
    await runCommand(['umount', merged])
    await rm(merged, { recursive: true })
  }
}

async function install(file: string, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  const target = join(folder, file.slice(file.lastIndexOf('/') + 1))
  await cp(file, target)
  await chmod(target, 0o755)
}

async function write(root: string, path: string, text: string): Promise<void> {
  await mkdir(dirname(join(root, path)), { recursive: true })
  await writeFile(join(root, path), text)
}

const IMPORT_UNIT = `[Unit]
Description=Images that came with the node
ConditionPathExists=!/var/lib/kind-images-are-imported
After=containerd.service
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/kind/bin/import-images.sh

[Install]
WantedBy=multi-user.target
`

const IMPORT_SCRIPT = `#!/bin/sh
set -eu
for archive in /kind/images/*.tar; do
  ctr --namespace=k8s.io images import --no-unpack "$archive"
done
touch /var/lib/kind-images-are-imported
`

const NO_STORAGE = `apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata:
  name: standard
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
`

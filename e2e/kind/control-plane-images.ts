import { copyFile, cp, mkdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { debianParts } from '../parts/debian.ts'
import { coreDns, kubernetesParts, KUBERNETES_VERSION } from '../parts/kubernetes.ts'
import { writeImageArchive } from '../parts/oci-image.ts'

/** What kube-proxy executes, and every library of theirs. */
const PROXY_PACKAGES = `
  conntrack iptables kmod nftables libc6 libedit2 libbsd0 libmd0 libtinfo6 libip4tc2 libip6tc2 libjansson4 libmnl0
  libnetfilter-conntrack3 libnfnetlink0 libnftables1 libnftnl11 libxtables12 libgmp10 libkmod2 liblzma5 libssl3
  libzstd1 libgcc-s1
`

/** The static executables that run as pods of the control plane; each is its image's only file. */
const STATIC = ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler'] as const

/**
 * Writes an archive of each image that kubeadm asks for, with the very name under which it does, into `folder`.
 *
 * @param wanted the names, as `kubeadm config images list` prints them.
 */
export async function writeControlPlaneImages(
  wanted: readonly string[],
  folder: string,
  scratch: string,
): Promise<void> {
  const kubernetes = await kubernetesParts()
  for (const name of STATIC) {
    await writeStatic({ name, image: imageOf(wanted, name), executable: join(kubernetes, name) }, { folder, scratch })
  }
  await writeStatic(
    { name: 'etcd', image: imageOf(wanted, 'etcd'), executable: join(kubernetes, 'etcd') },
    { folder, scratch },
  )
  await writeStatic(
    { name: 'coredns', image: imageOf(wanted, 'coredns'), executable: await coreDns(), entrypoint: ['/coredns'] },
    { folder, scratch },
  )
  await writeKubeProxy(imageOf(wanted, 'kube-proxy'), join(kubernetes, 'kube-proxy'), { folder, scratch })
}

interface Place {
  readonly folder: string
  readonly scratch: string
}

interface StaticImage {
  readonly name: string
  readonly image: string
  readonly executable: string
  readonly entrypoint?: readonly string[]
}

/** The manifests of kubeadm name the command without a path: it is found in PATH. */
async function writeStatic(
  { name, image, executable, entrypoint }: StaticImage,
  { folder, scratch }: Place,
): Promise<void> {
  const rootFolder = join(scratch, name)
  const bin = entrypoint === undefined ? join(rootFolder, 'usr/local/bin') : rootFolder
  await mkdir(bin, { recursive: true })
  await copyFile(executable, join(bin, name))
  await writeImageArchive({ name: image, rootFolder, entrypoint: entrypoint ?? [name] }, join(folder, `${name}.tar`))
}

async function writeKubeProxy(image: string, executable: string, { folder, scratch }: Place): Promise<void> {
  const rootFolder = join(scratch, 'kube-proxy')
  await cp(await debianParts(PROXY_PACKAGES.trim().split(/\s+/)), rootFolder, {
    recursive: true,
    verbatimSymlinks: true,
  })
  // Of a merged system: the loader's path is /lib64, and Debian 12 unpacks libc6 there.
  for (const name of ['iptables', 'ip6tables'].flatMap(each => [each, `${each}-save`, `${each}-restore`])) {
    await symlink('xtables-nft-multi', join(rootFolder, 'usr/sbin', name))
  }
  await mkdir(join(rootFolder, 'usr/local/bin'), { recursive: true })
  await copyFile(executable, join(rootFolder, 'usr/local/bin/kube-proxy'))
  await writeImageArchive({ name: image, rootFolder, entrypoint: ['kube-proxy'] }, join(folder, 'kube-proxy.tar'))
}

/** @throws {Error} when kubeadm of this Kubernetes asks for no such image: this page is behind then. */
function imageOf(wanted: readonly string[], name: string): string {
  const found = wanted.find(image => image.slice(image.lastIndexOf('/') + 1).startsWith(`${name}:`))
  if (found === undefined)
    throw new Error(`kubeadm ${KUBERNETES_VERSION} asks for no image ${name}: ${wanted.join(', ')}`)
  return found
}

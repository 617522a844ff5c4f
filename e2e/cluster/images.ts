import { createHash } from 'node:crypto'
import { copyFile, cp, mkdir, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { PAUSE_IMAGE, writePauseImage } from '../cri/harness/pause-image.ts'
import { cached } from '../parts/cache.ts'
import { runCommand } from '../parts/command.ts'
import { debianParts } from '../parts/debian.ts'
import { agnhostSources, coreDns, kubernetesParts } from '../parts/kubernetes.ts'
import { writeImageArchive } from '../parts/oci-image.ts'

/** agnhost under the name by which upstream's own tests want it: no registry is asked for an image that is there. */
export const TEST_IMAGE = 'registry.k8s.io/e2e-test-images/agnhost:2.63.0'
/** What upstream's tests of DNS run dig in; ours has it. */
const DIG_IMAGE = 'registry.k8s.io/e2e-test-images/glibc-dns-testing:2.0.0'
/** What upstream's tests run in pods that only have to be there. */
const WAIT_IMAGE = 'registry.k8s.io/pause:3.10.2'
export const DNS_IMAGE = 'registry.invalid/tulle/coredns:1'
export { PAUSE_IMAGE }

/** Programs that tests run in pods, and every library of theirs: upstream's image has them from Alpine. */
const TOOLS = `
  bash base-files busybox coreutils dash grep hostname libc-bin sed util-linux bind9-dnsutils bind9-libs curl
  iproute2 iputils-ping netcat-openbsd nginx libacl1 libattr1 libblkid1 libbpf1 libbrotli1 libbsd0 libc6 libcap2
  libcom-err2 libcrypt1 libcurl4 libdb5.3 libedit2 libelf1 libffi8 libfstrm0 libgcc-s1 libgmp10 libgnutls30
  libgssapi-krb5-2 libhogweed6 libicu72 libidn2-0 libjemalloc2 libjson-c5 libk5crypto3 libkeyutils1 libkrb5-3
  libkrb5support0 libldap-2.5-0 liblmdb0 liblzma5 libmaxminddb0 libmd0 libmnl0 libmount1 libnettle8
  libnghttp2-14 libp11-kit0 libpcre2-8-0 libprotobuf-c1 libpsl5 libreadline8 librtmp1 libsasl2-2 libselinux1
  libsmartcols1 libssh2-1 libssl3 libstdc++6 libtasn1-6 libtinfo6 libunistring2 libuuid1 libuv1 libxml2
  libxtables12 libzstd1 zlib1g
`

/** Puts the archives of all images that a cluster of tests needs into `folder`. Each is made once and kept in the cache. */
export async function collectImages(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  await writePauseImage(join(folder, 'pause.tar'), { aliases: [WAIT_IMAGE] })
  await copyFile(await dnsImage(), join(folder, 'coredns.tar'))
  await copyFile(await testImage(), join(folder, 'agnhost.tar'))
}

async function dnsImage(): Promise<string> {
  const executable = await coreDns()
  return await cachedImage('coredns', [executable, DNS_IMAGE], async (rootFolder, archive) => {
    await copyFile(executable, join(rootFolder, 'coredns'))
    await writeImageArchive({ name: DNS_IMAGE, rootFolder, entrypoint: ['/coredns'] }, archive)
  })
}

/** The archive of TEST_IMAGE: agnhost, and programs that tests run in pods. */
export async function testImage(): Promise<string> {
  const kubernetes = await kubernetesParts()
  const tools = await debianParts(TOOLS.trim().split(/\s+/))
  return await cachedImage(
    'agnhost',
    [kubernetes, tools, TEST_IMAGE, DIG_IMAGE, 'porter'],
    async (rootFolder, archive) => {
      await cp(tools, rootFolder, { recursive: true, verbatimSymlinks: true })
      await rm(join(rootFolder, 'usr/share'), { recursive: true })
      await linkTools(rootFolder)
      await copyFile(join(kubernetes, 'agnhost'), join(rootFolder, 'agnhost'))
      await symlink('agnhost', join(rootFolder, 'agnhost-2'))
      // Its servers with TLS listen with these.
      const porter = join(await agnhostSources(), 'porter')
      for (const file of ['localhost.crt', 'localhost.key']) await copyFile(join(porter, file), join(rootFolder, file))
      for (const dir of ['etc', 'proc', 'sys', 'tmp', 'uploads', 'var/tmp']) {
        await mkdir(join(rootFolder, dir), { recursive: true })
      }
      await writeFile(join(rootFolder, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n')
      await writeFile(join(rootFolder, 'etc/group'), 'root:x:0:\n')
      const names = { name: TEST_IMAGE, aliases: [DIG_IMAGE] }
      await writeImageArchive({ ...names, rootFolder, entrypoint: ['/agnhost'], cmd: ['pause'] }, archive)
    },
  )
}

/** Names that Debian makes when a package is installed. */
async function linkTools(rootFolder: string): Promise<void> {
  await symlink('nc.openbsd', join(rootFolder, 'bin/nc'))
  const applets = (await runCommand([join(rootFolder, 'bin/busybox'), '--list'])).trim().split('\n')
  const present = new Set<string>()
  for (const bin of ['bin', 'sbin', 'usr/bin', 'usr/sbin']) {
    for (const name of await readdir(join(rootFolder, bin))) present.add(name)
  }
  for (const name of applets) if (!present.has(name)) await symlink('/bin/busybox', join(rootFolder, 'bin', name))
}

/** @param inputs everything on which the image depends; paths in the cache have versions in their names. */
async function cachedImage(
  name: string,
  inputs: readonly string[],
  make: (rootFolder: string, archiveFile: string) => Promise<void>,
): Promise<string> {
  const key = createHash('sha256').update(inputs.join('\n')).digest('hex').slice(0, 16)
  const folder = await cached({ kind: 'images', key: `${name}-${key}` }, async temporary => {
    const rootFolder = join(temporary, 'root')
    await mkdir(rootFolder)
    await make(rootFolder, join(temporary, 'image.tar'))
    await rm(rootFolder, { recursive: true })
  })
  return join(folder, 'image.tar')
}

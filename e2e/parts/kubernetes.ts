import { createHash } from 'node:crypto'
import { readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { cached } from './cache.ts'
import { runCommand } from './command.ts'
import type { Command } from './command.ts'
import { assertGo, goTool } from './go.ts'
import { outside } from './outside.ts'

/** The release of Kubernetes that `e2e/kubernetes-parts/go.mod` requires. */
export const KUBERNETES_VERSION = 'v1.36.2'

/** A module of its own, so that nothing of Kubernetes comes near the product: go.mod pins, go.sum has the hashes. */
const MODULE = join(import.meta.dirname, '..', 'kubernetes-parts')

/** All of Kubernetes from an empty cache: about 10 minutes on two cores that do nothing else. */
const BUILD_TIMEOUT_MS = 2_400_000

const PROGRAMS = [
  'go.etcd.io/etcd/server/v3',
  ...['kube-apiserver', 'kube-controller-manager', 'kube-proxy', 'kube-scheduler', 'kubeadm', 'kubectl', 'kubelet'].map(
    name => `k8s.io/kubernetes/cmd/${name}`,
  ),
  'k8s.io/kubernetes/test/images/agnhost',
] as const

/** What containerd's 1.6 in Debian 12 no longer is: a runtime that this kubelet talks to. runc stays Debian's: it needs a C library. */
const CONTAINERD_VERSION = 'v2.3.4'

/** The DNS server, in the version that kubeadm of this Kubernetes installs, with the plugins that it configures. */
const COREDNS_MODULE = join(import.meta.dirname, '..', 'coredns-parts')

/**
 * Returns a folder with etcd, kube-apiserver, kube-controller-manager, kube-proxy, kube-scheduler, kubeadm,
 * kubectl, kubelet and agnhost.
 *
 * The module proxy has Kubernetes without the modules that live in its repository's `staging` folder; go.mod replaces those by
 * their own releases of the same day. They are built once for each go.mod and kept in the cache.
 *
 * @throws {GoMissing} when the machine has no Go that could build them.
 * @throws {CommandError} with the compiler's words.
 */
export async function kubernetesParts(): Promise<string> {
  return await cached({ kind: 'kubernetes', key: await keyOf(MODULE, PROGRAMS) }, async temporary => {
    await build(MODULE, ['build', '-o', `${temporary}/`], PROGRAMS)
    // Go names an executable after the last element of its package path that is no version.
    await rename(join(temporary, 'server'), join(temporary, 'etcd'))
  })
}

/** Returns the path of upstream's own end-to-end tests, compiled. Failures as `kubernetesParts()`. */
export async function kubernetesTests(): Promise<string> {
  const packagePath = 'k8s.io/kubernetes/test/e2e'
  const folder = await cached({ kind: 'kubernetes', key: await keyOf(MODULE, [packagePath]) }, async temporary => {
    await build(MODULE, ['test', '-c', '-vet=off', '-o', join(temporary, 'e2e.test')], [packagePath])
  })
  return join(folder, 'e2e.test')
}

/** Returns the folder in which the module of Kubernetes has agnhost's own files. Failures as `kubernetesParts()`. */
export async function agnhostSources(): Promise<string> {
  await assertGo()
  const list: Command = ['go', 'list', '-C', MODULE, '-mod=readonly', '-m', '-f', '{{.Dir}}', 'k8s.io/kubernetes']
  return join((await runCommand(outside(list, MODULE))).trim(), 'test/images/agnhost')
}

/** The executables of containerd that a node needs. Failures as `kubernetesParts()`. */
export async function containerdParts(): Promise<ContainerdParts> {
  const tool = (name: string) =>
    goTool({ packagePath: `github.com/containerd/containerd/v2/cmd/${name}`, version: CONTAINERD_VERSION })
  // One after the other: what the first compiles, the others find compiled.
  const containerd = await tool('containerd')
  return { containerd, ctr: await tool('ctr'), shim: await tool('containerd-shim-runc-v2') }
}

export interface ContainerdParts {
  readonly containerd: string
  readonly ctr: string
  readonly shim: string
}

/** Returns the path of CoreDNS. Failures as `kubernetesParts()`. */
export async function coreDns(): Promise<string> {
  const key = await keyOf(COREDNS_MODULE, ['main.go'])
  const folder = await cached({ kind: 'coredns', key }, async temporary => {
    await build(COREDNS_MODULE, ['build', '-o', join(temporary, 'coredns')], ['.'])
  })
  return join(folder, 'coredns')
}

/** Compiles what go.mod and go.sum of `module` pin, and nothing else. Without cgo the executables need no library of the machine. */
async function build(module: string, command: readonly string[], packages: readonly string[]): Promise<void> {
  const [verb = '', ...options] = command
  await assertGo()
  await runCommand(
    outside(
      ['go', verb, '-C', module, '-mod=readonly', '-trimpath', '-ldflags', linkerFlags(), ...options, ...packages],
      module,
    ),
    { env: { ...process.env, CGO_ENABLED: '0' }, timeoutMs: BUILD_TIMEOUT_MS },
  )
}

/** Everything that the executables depend on, except the compiler. @param more names files of the module, or packages. */
async function keyOf(module: string, more: readonly string[]): Promise<string> {
  const hash = createHash('sha256')
  for (const name of ['go.mod', 'go.sum', ...more.filter(each => each.endsWith('.go'))]) {
    hash.update(await readFile(join(module, name)))
  }
  hash.update([process.arch, linkerFlags(), ...more].join('\n'))
  return `${KUBERNETES_VERSION}-${hash.digest('hex').slice(0, 16)}`
}

/** Kubernetes learns its version from the linker; kubelet and e2e.test compare theirs with the API server's. */
function linkerFlags(): string {
  const [, major = '', minor = ''] = /^v(\d+)\.(\d+)/.exec(KUBERNETES_VERSION) ?? []
  const facts = { gitVersion: KUBERNETES_VERSION, gitMajor: major, gitMinor: minor, gitTreeState: 'clean' }
  const flags = ['k8s.io/component-base/version', 'k8s.io/client-go/pkg/version'].flatMap(place =>
    Object.entries(facts).map(([name, value]) => `-X ${place}.${name}=${value}`),
  )
  return ['-s -w', ...flags].join(' ')
}

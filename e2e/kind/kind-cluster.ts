import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ClusterNode, ClusterProvider, NodeService } from '../cluster/provider.ts'
import { until } from '../cluster/until.ts'
import { CommandError, execute, runCommand, type Command } from '../parts/command.ts'
import { kubernetesParts } from '../parts/kubernetes.ts'
import type { PrivateDocker } from './docker.ts'
import { kindTool } from './kind-parts.ts'
import { kindNodeArchive } from './node-image.ts'

const CLUSTER = 'tulle'
const NODE_IMAGE = 'tulle-kind-node:local'
/** What users have: the cluster is made of this file. */
const CONFIG_FILE = join(import.meta.dirname, '..', '..', 'kind-config.yaml')
const IMPORT_MS = 300_000
const CREATE_MS = 900_000
const API_SERVER_MANIFEST = '/etc/kubernetes/manifests/kube-apiserver.yaml'
const PUT_AWAY = '/kind/kube-apiserver.yaml'

/**
 * What this machine's kernel and rights ask for, beside the file that users have: a kubelet that accepts cgroup v1, and nobody
 * who lowers an OOM score, which takes CAP_SYS_RESOURCE. Both are harmless elsewhere.
 */
const PATCHES = `
kubeadmConfigPatches:
  - |
    kind: KubeletConfiguration
    failCgroupV1: false
    oomScoreAdj: 0
  - |
    kind: KubeProxyConfiguration
    oomScoreAdj: 0
`

/** All that another process needs to work with a cluster that `kind` made. */
export interface KindDescription {
  readonly provider: 'kind'
  /** With DOCKER_HOST, and a PATH that has docker. */
  readonly env: Readonly<Record<string, string>>
  readonly kind: string
  readonly kubeconfigFile: string
  readonly outsideAddresses: readonly string[]
}

/** A cluster that the real `kind` made, in a Docker engine of its own. */
export class KindCluster implements ClusterProvider {
  readonly description: KindDescription
  readonly canAddNodes = false

  constructor(description: KindDescription) {
    this.description = description
  }

  get kubeconfigFile(): string {
    return this.description.kubeconfigFile
  }

  get outsideAddresses(): readonly string[] {
    return this.description.outsideAddresses
  }

  /** Loads an image archive onto every node, as users do. */
  async loadImage(archive: string): Promise<void> {
    await this.#runKind(['load', 'image-archive', archive, '--name', CLUSTER])
  }

  /** Executes kubectl against the cluster. @returns its stdout. */
  async kubectl(args: readonly string[], timeoutMs = 60_000): Promise<string> {
    const kubectl = join(await kubernetesParts(), 'kubectl')
    return await runCommand([kubectl, '--kubeconfig', this.kubeconfigFile, ...args], {
      env: this.description.env,
      timeoutMs,
    })
  }

  async nodes(): Promise<readonly ClusterNode[]> {
    const names = (await this.#runKind(['get', 'nodes', '--name', CLUSTER])).trim().split('\n')
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}'
    return await Promise.all(
      names.toSorted().map(async name => {
        const addresses = await this.#docker(['inspect', '--format', format, name])
        return {
          name,
          addresses: addresses
            .trim()
            .split(' ')
            .filter(address => address !== ''),
        }
      }),
    )
  }

  async exec(nodeName: string, command: Command, timeoutMs = 20_000): Promise<string> {
    return await this.#docker(['exec', nodeName, ...command], timeoutMs)
  }

  /** @throws {Error} always: kind makes its nodes when it makes the cluster. */
  addNode(): Promise<ClusterNode> {
    return Promise.reject(new Error('kind adds no nodes to a cluster'))
  }

  async removeNode(nodeName: string): Promise<void> {
    await this.#docker(['rm', '--force', nodeName])
  }

  async rebootNode(nodeName: string): Promise<void> {
    await this.#docker(['kill', nodeName])
    await this.#docker(['start', nodeName])
    await this.#whenActive(nodeName, 'containerd')
  }

  async restartService(nodeName: string, service: NodeService): Promise<void> {
    // kube-proxy is a pod here: killing its process is what its supervisor, the kubelet, has to see.
    if (service === 'kube-proxy') {
      await this.exec(nodeName, ['pkill', '-KILL', '-x', 'kube-proxy'])
      return
    }
    await this.exec(nodeName, ['systemctl', 'kill', '--signal=KILL', service])
    await this.#whenActive(nodeName, service)
  }

  async stopApiServer(): Promise<void> {
    const node = await this.#controlPlane()
    await this.exec(node, ['mv', API_SERVER_MANIFEST, PUT_AWAY])
    await until(
      'the API server to be gone',
      async () => {
        const answer = await this.exec(node, ['pgrep', '-x', 'kube-apiserver']).catch(() => '')
        return answer === '' ? true : undefined
      },
      60_000,
    )
  }

  async startApiServer(): Promise<void> {
    await this.exec(await this.#controlPlane(), ['mv', PUT_AWAY, API_SERVER_MANIFEST])
  }

  async #controlPlane(): Promise<string> {
    const found = (await this.nodes()).find(({ name }) => name.includes('control-plane'))
    if (found === undefined) throw new Error('the cluster has no control plane')
    return found.name
  }

  async #whenActive(nodeName: string, service: string): Promise<void> {
    await until(
      `${service} of ${nodeName} to run`,
      async () => {
        const state = await this.exec(nodeName, ['systemctl', 'is-active', service]).catch(() => '')
        return state.trim() === 'active' ? true : undefined
      },
      60_000,
    )
  }

  async #runKind(args: readonly string[]): Promise<string> {
    const { kind, env } = this.description
    return await runCommand([kind, ...args], { env, timeoutMs: CREATE_MS })
  }

  async #docker(args: readonly string[], timeoutMs = 60_000): Promise<string> {
    return await runCommand(['docker', ...args], { env: this.description.env, timeoutMs })
  }
}

/**
 * Makes a cluster with the repository's kind-config.yaml, of nodes that are not Ready: nothing gives them a network yet.
 *
 * @param report gets what kind says.
 * @throws {CommandError} with kind's words.
 */
export async function createKindCluster(
  docker: PrivateDocker,
  { folder, report }: { readonly folder: string; readonly report: (text: string) => void },
): Promise<KindCluster> {
  await mkdir(folder, { recursive: true })
  const changes = [
    'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
    'ENV container=docker',
    'STOPSIGNAL SIGRTMIN+3',
  ]
  const archive = await kindNodeArchive()
  await docker.docker(['import', ...changes.flatMap(change => ['--change', change]), archive, NODE_IMAGE], IMPORT_MS)
  const kind = await kindTool()
  const config = join(folder, 'kind-config.yaml')
  await writeFile(config, (await readFile(CONFIG_FILE, 'utf8')) + PATCHES)
  const kubeconfigFile = join(folder, 'kubeconfig')
  // A node is not Ready before it has a network: waiting for that would be in vain.
  const create = [
    'create',
    'cluster',
    '--config',
    config,
    '--image',
    NODE_IMAGE,
    '--kubeconfig',
    kubeconfigFile,
    '--wait',
    '0s',
  ]
  const outcome = await execute([kind, ...create], { env: docker.env, timeoutMs: CREATE_MS })
  report(outcome.stderr)
  if (outcome.exitCode !== 0) throw new CommandError([kind, ...create], outcome)
  const outsideAddresses = await addressesOfBridge(docker)
  return new KindCluster({ provider: 'kind', env: docker.env, kind, kubeconfigFile, outsideAddresses })
}

/** The addresses of this host on the bridge that the nodes are on: dockerd names a gateway for IPv4 alone. */
async function addressesOfBridge(docker: PrivateDocker): Promise<readonly string[]> {
  const id = (await docker.docker(['network', 'inspect', 'kind', '--format', '{{.Id}}'])).trim()
  const text = await runCommand(['ip', '-json', 'address', 'show', 'dev', `br-${id.slice(0, 12)}`, 'scope', 'global'])
  const [link] = JSON.parse(text) as readonly { readonly addr_info: readonly { readonly local: string }[] }[]
  if (link === undefined) throw new Error('the bridge of the network kind has no address')
  return link.addr_info.map(({ local }) => local)
}

import { join } from 'node:path'
import type { ClusterNode, ClusterProvider, NodeService } from '../cluster/provider.ts'
import { until } from '../cluster/until.ts'
import { runCommand } from '../parts/command.ts'
import type { Command } from '../parts/command.ts'
import { kubernetesParts } from '../parts/kubernetes.ts'
import { rulesOfDocker } from './docker-rules.ts'
import { configurationFor, nextWorkerName, workerArguments } from './added-node.ts'

/** As kind-config.yaml has it. */
const CLUSTER = 'tulle'
export const NODE_IMAGE = 'tulle-kind-node:local'
const KIND_MS = 300_000
const JOIN_MS = 180_000
const SERVICE_MS = 120_000
/** kind's own file, on every node. */
const KUBEADM_CONFIG = '/kind/kubeadm.conf'
const API_SERVER_MANIFEST = '/etc/kubernetes/manifests/kube-apiserver.yaml'
const PUT_AWAY = '/kind/kube-apiserver.yaml'

/** All that another process needs to work with a cluster that `kind` made. */
export interface KindDescription {
  readonly provider: 'kind'
  /** What its programs need in their environment beside that of the process: DOCKER_HOST, and a PATH that has docker. */
  readonly env: Readonly<Record<string, string>>
  readonly kind: string
  readonly kubeconfigFile: string
  readonly outsideAddresses: readonly string[]
  /** The archives of the images that were loaded onto the nodes: a node that comes later gets them too. */
  readonly imageArchives: readonly string[]
}

/** A cluster that the real `kind` made, in a Docker engine of its own. */
export class KindCluster implements ClusterProvider {
  readonly #facts: Omit<KindDescription, 'imageArchives'>
  readonly #imageArchives: string[]

  constructor({ imageArchives, ...facts }: KindDescription) {
    this.#facts = facts
    this.#imageArchives = [...imageArchives]
  }

  get description(): KindDescription {
    return { ...this.#facts, imageArchives: this.#imageArchives }
  }

  get kubeconfigFile(): string {
    return this.#facts.kubeconfigFile
  }

  get outsideAddresses(): readonly string[] {
    return this.#facts.outsideAddresses
  }

  /** Loads an image archive onto every node, as users do. */
  async loadImage(archive: string): Promise<void> {
    await this.#runKind(['load', 'image-archive', archive, '--name', CLUSTER])
    this.#imageArchives.push(archive)
  }

  /** Copies the logs of all nodes to a folder of this machine. */
  async exportLogs(folder: string): Promise<void> {
    await this.#runKind(['export', 'logs', folder, '--name', CLUSTER])
  }

  /** Executes kubectl against the cluster. @returns its stdout. */
  async kubectl(args: readonly string[], timeoutMs = 60_000): Promise<string> {
    const kubectl = join(await kubernetesParts(), 'kubectl')
    return await runCommand([kubectl, '--kubeconfig', this.kubeconfigFile, ...args], {
      env: this.#env,
      timeoutMs,
    })
  }

  async nodes(): Promise<readonly ClusterNode[]> {
    const names = (await this.#runKind(['get', 'nodes', '--name', CLUSTER])).trim().split('\n')
    return await Promise.all(names.toSorted().map(async name => this.#node(name)))
  }

  async exec(nodeName: string, command: Command, timeoutMs?: number): Promise<string> {
    return await this.#docker(['exec', nodeName, ...command], timeoutMs)
  }

  /** The container that kind would have made, and kubeadm in it: kind itself adds no nodes. */
  async addNode(): Promise<ClusterNode> {
    const nodes = await this.nodes()
    const model = nodes.find(({ name }) => name.includes('worker'))
    if (model === undefined) throw new Error('the cluster has no worker to take as a model')
    const name = nextWorkerName(
      nodes.map(node => node.name),
      CLUSTER,
    )
    await using undo = new AsyncDisposableStack()
    undo.defer(async () => this.removeNode(name))
    await this.#docker(workerArguments({ name, cluster: CLUSTER, image: NODE_IMAGE }))
    await this.#whenActive(name, 'kind-images')
    for (const archive of this.#imageArchives) {
      await this.#runKind(['load', 'image-archive', archive, '--name', CLUSTER, '--nodes', name])
    }
    const node = await this.#node(name)
    const config = configurationFor(await this.exec(model.name, ['cat', KUBEADM_CONFIG]), model, node)
    await this.exec(name, ['bash', '-c', 'printf %s "$1" >"$0"', KUBEADM_CONFIG, config])
    await this.exec(name, ['kubeadm', 'join', '--config', KUBEADM_CONFIG], JOIN_MS)
    undo.move()
    return node
  }

  async removeNode(nodeName: string): Promise<void> {
    await this.#docker(['rm', '--force', '--volumes', nodeName])
  }

  async rebootNode(nodeName: string): Promise<void> {
    await this.#docker(['kill', nodeName])
    await this.#docker(['start', nodeName])
    await this.#whenActive(nodeName, 'containerd')
  }

  async restartService(nodeName: string, service: NodeService): Promise<void> {
    const before = await this.#processOf(nodeName, service)
    await this.exec(nodeName, ['kill', '-KILL', before])
    await until(
      `${service} to run again on ${nodeName}`,
      async () => (await this.#processOf(nodeName, service)) !== before,
      SERVICE_MS,
    )
  }

  /** Docker has its DNS server in a node's NAT rules: without them the node does not know where the API server is. */
  async keepOwnRules(nodeName: string): Promise<() => Promise<void>> {
    const rules = rulesOfDocker(await this.exec(nodeName, ['iptables-save', '--table', 'nat']))
    return async () => void (await this.exec(nodeName, ['bash', '-c', 'iptables-restore --noflush <<<"$0"', rules]))
  }

  async stopApiServer(): Promise<void> {
    const node = await this.#controlPlane()
    await this.exec(node, ['mv', API_SERVER_MANIFEST, PUT_AWAY])
    await until(
      'the API server to be gone',
      // pgrep fails when it finds nothing, and docker when it cannot look.
      async () => (await this.exec(node, ['bash', '-c', 'pgrep --exact kube-apiserver || test $? = 1'])) === '',
      SERVICE_MS,
    )
  }

  async startApiServer(): Promise<void> {
    await this.exec(await this.#controlPlane(), ['mv', PUT_AWAY, API_SERVER_MANIFEST])
  }

  async #node(name: string): Promise<ClusterNode> {
    const format = '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}'
    const addresses = (await this.#docker(['inspect', '--format', format, name])).trim().split(' ')
    return { name, addresses: addresses.filter(address => address !== '') }
  }

  async #controlPlane(): Promise<string> {
    const found = (await this.nodes()).find(({ name }) => name.includes('control-plane'))
    if (found === undefined) throw new Error('the cluster has no control plane')
    return found.name
  }

  /** The first process of a daemon. @throws {Error} while it has none. */
  async #processOf(nodeName: string, service: NodeService): Promise<string> {
    // kube-proxy is a pod here; systemd has the others.
    const command: Command =
      service === 'kube-proxy'
        ? ['pgrep', '--exact', '--oldest', 'kube-proxy']
        : ['systemctl', 'show', '--property=MainPID', '--value', service]
    const pid = (await this.exec(nodeName, command)).trim()
    if (!/^[1-9]\d*$/.test(pid)) throw new Error(`${service} does not run on ${nodeName}`)
    return pid
  }

  async #whenActive(nodeName: string, service: string): Promise<void> {
    await until(
      `${service} of ${nodeName} to run`,
      async () => {
        const state = await this.exec(nodeName, ['systemctl', 'is-active', service]).catch(() => '')
        return state.trim() === 'active' ? true : undefined
      },
      SERVICE_MS,
    )
  }

  get #env(): Readonly<Record<string, string | undefined>> {
    return { ...process.env, ...this.#facts.env }
  }

  async #runKind(args: readonly string[]): Promise<string> {
    return await runCommand([this.#facts.kind, ...args], { env: this.#env, timeoutMs: KIND_MS })
  }

  async #docker(args: readonly string[], timeoutMs = 60_000): Promise<string> {
    return await runCommand(['docker', ...args], { env: this.#env, timeoutMs })
  }
}

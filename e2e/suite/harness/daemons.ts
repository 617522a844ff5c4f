import type { ClusterProvider } from '../../cluster/provider.ts'
import { until } from '../../cluster/until.ts'
import { runningContainers, signalContainer } from './containers.ts'
import { Kubernetes } from './kubernetes.ts'

const SYSTEM = 'kube-system'
const SELECTOR = 'app.kubernetes.io/name=tulle'
const DAEMON_SET = 'tulle'
const RESTART_MS = 120_000
const ROLL_MS = 300_000

/** The containers of Tulle on each node. */
export type Daemon = 'ipamd' | 'agent'

/** Tulle itself on the cluster, as its DaemonSet has it. */
export class Daemons {
  readonly #provider: ClusterProvider
  readonly #system: Kubernetes

  constructor(provider: ClusterProvider) {
    this.#provider = provider
    this.#system = Kubernetes.connect(provider.kubeconfigFile, SYSTEM)
  }

  /**
   * Kills a daemon on a node (SIGKILL); returns when kubelet has it running again, and Tulle is Ready there.
   *
   * @param afterwards is done at once, before kubelet has started another container.
   */
  async kill(nodeName: string, daemon: Daemon, afterwards?: () => Promise<void>): Promise<void> {
    const podName = await this.podNameOn(nodeName)
    const [before] = await runningContainers(this.#provider, nodeName, { podName, containerName: daemon })
    if (before === undefined) throw new Error(`${daemon} does not run on ${nodeName}`)
    await signalContainer(this.#provider, nodeName, { containerId: before, signal: 'SIGKILL' })
    await afterwards?.()
    await until(
      `${daemon} to run again on ${nodeName}`,
      async () => {
        const running = await runningContainers(this.#provider, nodeName, { podName, containerName: daemon })
        return running.length > 0 && !running.includes(before)
      },
      RESTART_MS,
    )
    await this.#system.readyPods([podName])
  }

  /** Has the DaemonSet replace its pods, node by node, as `kubectl rollout restart` does; returns when all new ones are Ready. */
  async roll(): Promise<void> {
    const { apps } = this.#system
    const place = { name: DAEMON_SET, namespace: SYSTEM }
    const wanted = await apps.readNamespacedDaemonSet(place)
    const { metadata } = wanted.spec?.template ?? {}
    if (metadata === undefined) throw new Error(`${DAEMON_SET} has no template`)
    metadata.annotations = { ...metadata.annotations, 'tulle.dev/rolled-at': new Date().toISOString() }
    const { metadata: { generation = 0 } = {} } = await apps.replaceNamespacedDaemonSet({ ...place, body: wanted })
    await until(
      `${DAEMON_SET} to be rolled`,
      async () => {
        const { status } = await apps.readNamespacedDaemonSet(place)
        const {
          observedGeneration = 0,
          desiredNumberScheduled: all,
          updatedNumberScheduled,
          numberReady,
        } = status ?? {}
        return observedGeneration >= generation && updatedNumberScheduled === all && numberReady === all
      },
      ROLL_MS,
    )
  }

  /** The pods of Tulle that are Ready. */
  async podNames(): Promise<readonly string[]> {
    return (await this.#system.podsWith(SELECTOR)).map(({ name }) => name)
  }

  /** Replaces the pods of Tulle on every node at once; returns when all new ones are Ready. */
  async replaceAll(): Promise<void> {
    const before = await this.#system.podsWith(SELECTOR)
    await this.#system.deletePods(before.map(({ name }) => name))
    await this.ready()
  }

  /** Waits until Tulle is Ready on every node of the cluster. */
  async ready(): Promise<void> {
    await until('Tulle to be Ready on every node', async () => this.#areReady(), RESTART_MS)
  }

  /**
   * Has the agents of all nodes run with another `routing.mode`; returns when all are Ready with it.
   *
   * @returns the mode that they had.
   */
  async setRoutingMode(mode: string): Promise<string> {
    const { core } = this.#system
    const map = await core.readNamespacedConfigMap({ name: 'tulle', namespace: SYSTEM })
    const config = JSON.parse(map.data?.['agent.json'] ?? '') as { readonly routing: { readonly mode: string } }
    const agentJson = JSON.stringify({ ...config, routing: { ...config.routing, mode } })
    map.data = { ...map.data, 'agent.json': agentJson }
    await core.replaceNamespacedConfigMap({ name: 'tulle', namespace: SYSTEM, body: map })
    await this.replaceAll()
    return config.routing.mode
  }

  /** The pod of the DaemonSet on a node. @throws {Error} when it is not Ready. */
  async podNameOn(nodeName: string): Promise<string> {
    const found = (await this.#system.podsWith(SELECTOR)).find(pod => pod.nodeName === nodeName)
    if (found === undefined) throw new Error(`Tulle is not Ready on ${nodeName}`)
    return found.name
  }

  async #areReady(): Promise<boolean> {
    const ready = new Set((await this.#system.podsWith(SELECTOR)).map(({ nodeName }) => nodeName))
    return (await this.#system.nodes()).every(({ metadata }) => ready.has(metadata?.name ?? ''))
  }
}

import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { AppsV1Api, CoreV1Api, Exec, KubeConfig } from '@kubernetes/client-node'
import type { V1Node, V1Pod, V1Service } from '@kubernetes/client-node'
import { until } from '../../cluster/until.ts'

/** Long enough for a machine with other work too: a pod that will never be Ready is rare, a busy machine is not. */
const READY_MS = 240_000
const GONE_MS = 240_000
const EXEC_MS = 30_000

/** What a command in a pod did. */
export interface PodOutcome {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** A pod that runs and passes its readiness probe. */
export interface ReadyPod {
  readonly name: string
  readonly nodeName: string
  /** IPv4 first when it has both. */
  readonly addresses: readonly string[]
}

/** A command in a pod that failed. The message has what it said. */
export class PodCommandError extends Error {
  override readonly name = 'PodCommandError'
}

/** The cluster through its API, with the deadlines and the waiting that tests want. Everything is in one namespace. */
export class Kubernetes {
  readonly core: CoreV1Api
  readonly apps: AppsV1Api
  readonly namespace: string
  readonly #exec: Exec

  private constructor(config: KubeConfig, namespace: string) {
    this.core = config.makeApiClient(CoreV1Api)
    this.apps = config.makeApiClient(AppsV1Api)
    this.#exec = new Exec(config)
    this.namespace = namespace
  }

  /** @param namespace is used, not made. */
  static connect(kubeconfigFile: string, namespace: string): Kubernetes {
    const config = new KubeConfig()
    config.loadFromFile(kubeconfigFile)
    return new Kubernetes(config, namespace)
  }

  /** Makes the namespace and waits until pods can be made in it. */
  async createNamespace(): Promise<void> {
    await this.core.createNamespace({ body: { metadata: { name: this.namespace } } })
    await until('the service account of the namespace', async () => {
      const { items } = await this.core.listNamespacedServiceAccount({ namespace: this.namespace })
      return items.some(({ metadata }) => metadata?.name === 'default')
    })
  }

  /** Deletes the namespace with all that is in it, and waits until it is gone. */
  async deleteNamespace(): Promise<void> {
    await this.core.deleteNamespace({ name: this.namespace })
    await until(
      `the end of namespace ${this.namespace}`,
      async () => !(await this.core.listNamespace()).items.some(({ metadata }) => metadata?.name === this.namespace),
      GONE_MS,
    )
  }

  /** Makes a pod, and does not wait for it. */
  async createPod(body: V1Pod): Promise<void> {
    await this.core.createNamespacedPod({ namespace: this.namespace, body })
  }

  /** Makes pods and waits until each is Ready. @returns them in the same order. */
  async runPods(pods: readonly V1Pod[]): Promise<readonly ReadyPod[]> {
    await Promise.all(pods.map(async pod => this.createPod(pod)))
    return await this.readyPods(pods.map(({ metadata }) => metadata?.name ?? ''))
  }

  /** Waits until every one of the named pods is Ready. */
  async readyPods(names: readonly string[], timeoutMs = READY_MS): Promise<readonly ReadyPod[]> {
    let missing: readonly string[] = names
    return await until(
      `pods to be Ready in ${this.namespace}`,
      async () => {
        const { items } = await this.core.listNamespacedPod({ namespace: this.namespace })
        const ready = new Map(items.filter(isReady).map(pod => [pod.metadata?.name ?? '', readyPod(pod)]))
        missing = names.filter(name => !ready.has(name))
        if (missing.length > 0) throw new Error(`not Ready: ${missing.join(' ')}`)
        return names.flatMap(name => ready.get(name) ?? [])
      },
      timeoutMs,
    )
  }

  /** The pods of a workload that are Ready now and not being deleted. */
  async podsWith(labelSelector: string): Promise<readonly ReadyPod[]> {
    const { items } = await this.core.listNamespacedPod({ namespace: this.namespace, labelSelector })
    return items.filter(isReady).map(readyPod)
  }

  /** Deletes pods with a grace period of a second, and waits until they are gone, though others of the same names may have come. */
  async deletePods(names: readonly string[]): Promise<void> {
    const deleted = await Promise.all(
      names.map(async name =>
        this.core.deleteNamespacedPod({ name, namespace: this.namespace, gracePeriodSeconds: 1 }),
      ),
    )
    const uids = new Set(deleted.map(({ metadata }) => metadata?.uid))
    await until(
      `the end of ${names.join(' ')}`,
      async () => {
        const { items } = await this.core.listNamespacedPod({ namespace: this.namespace })
        return !items.some(({ metadata }) => uids.has(metadata?.uid))
      },
      GONE_MS,
    )
  }

  /** Waits until no pod has one of these names: who made them deletes them. */
  async podsGone(names: readonly string[]): Promise<void> {
    await until(
      `the end of ${names.length} pods`,
      async () => {
        const { items } = await this.core.listNamespacedPod({ namespace: this.namespace })
        return !items.some(({ metadata }) => names.includes(metadata?.name ?? ''))
      },
      GONE_MS,
    )
  }

  /** The addresses of a pod, Ready or not, as the API server knows them now. */
  async addressesOf(podName: string): Promise<readonly string[]> {
    const pod = await this.core.readNamespacedPod({ name: podName, namespace: this.namespace })
    return (pod.status?.podIPs ?? []).flatMap(({ ip }) => ip ?? [])
  }

  /** How often the containers of each pod were started again. */
  async restartsOf(podNames: readonly string[]): Promise<readonly number[]> {
    const { items } = await this.core.listNamespacedPod({ namespace: this.namespace })
    return podNames.map(podName => {
      const pod = items.find(({ metadata }) => metadata?.name === podName)
      if (pod === undefined) throw new Error(`no pod ${podName}`)
      return (pod.status?.containerStatuses ?? []).reduce((sum, { restartCount }) => sum + restartCount, 0)
    })
  }

  /** What the events of a pod say. */
  async eventsOf(podName: string): Promise<readonly string[]> {
    const fieldSelector = `involvedObject.name=${podName}`
    const { items } = await this.core.listNamespacedEvent({ namespace: this.namespace, fieldSelector })
    return items.map(({ message }) => message ?? '')
  }

  /** Makes a service. @returns it with its addresses and ports. */
  async createService(body: V1Service): Promise<V1Service> {
    return await this.core.createNamespacedService({ namespace: this.namespace, body })
  }

  /** The events of the namespace with one of these reasons, as `reason of subject: message`. */
  async eventsWith(reasons: readonly string[]): Promise<readonly string[]> {
    const { items } = await this.core.listNamespacedEvent({ namespace: this.namespace })
    return items
      .filter(({ reason }) => reasons.includes(reason ?? ''))
      .map(({ reason, involvedObject, message }) => `${reason} of ${involvedObject.name}: ${message}`)
  }

  async nodes(): Promise<readonly V1Node[]> {
    return (await this.core.listNode()).items
  }

  /** Waits until the node is Ready, and was so after `sinceUnixMs` when that is given. */
  async nodeReady(name: string, timeoutMs = READY_MS): Promise<V1Node> {
    return await until(
      `node ${name} to be Ready`,
      async () =>
        (await this.nodes()).find(
          ({ metadata, status }) =>
            metadata?.name === name &&
            status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true,
        ),
      timeoutMs,
    )
  }

  /** Runs a command in a container of a pod and reports how it ended. @throws {Error} when it cannot be run or takes 30 s. */
  async tryExec(podName: string, command: readonly string[], place: ExecPlace = {}): Promise<PodOutcome> {
    const stdout = new PassThrough()
    const stderr = new PassThrough()
    const said = [text(stdout), text(stderr)] as const
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    const timer = setTimeout(
      () => reject(new Error(`${podName}: ${command.join(' ')}: no end in ${EXEC_MS} ms`)),
      EXEC_MS,
    )
    try {
      const socket = await this.#exec.exec(
        place.namespace ?? this.namespace,
        podName,
        place.container ?? '',
        [...command],
        stdout,
        stderr,
        null,
        false,
        status => resolve(exitCodeOf(status)),
      )
      socket.on('error', reject)
      socket.on('close', () => reject(new Error(`${podName}: the connection ended before the command`)))
      const exitCode = await promise
      stdout.end()
      stderr.end()
      return { exitCode, stdout: await said[0], stderr: await said[1] }
    } finally {
      clearTimeout(timer)
    }
  }

  /** Runs a command in a pod. @returns its stdout. @throws {PodCommandError} unless it exits with 0. */
  async exec(podName: string, command: readonly string[], place: ExecPlace = {}): Promise<string> {
    const { exitCode, stdout, stderr } = await this.tryExec(podName, command, place)
    if (exitCode === 0) return stdout
    throw new PodCommandError(`${podName}: ${command.join(' ')}: exit code ${exitCode}: ${(stderr || stdout).trim()}`)
  }
}

export interface ExecPlace {
  /** The first container of the pod when absent. */
  readonly container?: string
  /** That of `Kubernetes` when absent. */
  readonly namespace?: string
}

function isReady({ metadata, status }: V1Pod): boolean {
  if (metadata?.deletionTimestamp !== undefined) return false
  return status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true
}

function readyPod({ metadata, spec, status }: V1Pod): ReadyPod {
  return {
    name: metadata?.name ?? '',
    nodeName: spec?.nodeName ?? '',
    addresses: (status?.podIPs ?? []).flatMap(({ ip }) => ip ?? []),
  }
}

/** The API server reports the exit code of a command as the message of a cause. */
function exitCodeOf(status: {
  readonly status?: string
  readonly message?: string
  readonly details?: { readonly causes?: readonly { readonly reason?: string; readonly message?: string }[] }
}): number {
  if (status.status === 'Success') return 0
  const cause = status.details?.causes?.find(({ reason }) => reason === 'ExitCode')
  if (cause?.message === undefined) throw new Error(`the command did not run: ${status.message ?? 'no reason given'}`)
  return Number(cause.message)
}

/**
 * Makes pods on one cluster and says how long each took: a process beside the cluster, where its API can be reached. Each line
 * of its input is a pod to make, `{ "name": …, "hostPort": … }`; each line of its output answers one, `{ "readyMs": … }`.
 */
import { EventEmitter, once } from 'node:events'
import { createInterface } from 'node:readline'
import { CoreV1Api, KubeConfig, Watch, type V1Pod } from '@kubernetes/client-node'
import { serverPod } from '../../e2e/suite/harness/pods.ts'

/** A pod to make. */
export interface PodRequest {
  readonly name: string
  readonly hostPort?: number
}

/** From the request that makes the pod to the event that says that it is Ready. */
export interface PodAnswer {
  readonly readyMs: number
}

const READY_MS = 60_000
const GONE_MS = 60_000

async function serve(kubeconfigFile: string, namespace: string): Promise<void> {
  const config = new KubeConfig()
  config.loadFromFile(kubeconfigFile)
  for await (const line of createInterface({ input: process.stdin })) {
    const readyMs = await timePod({ config, namespace }, JSON.parse(line) as PodRequest)
    process.stdout.write(`${JSON.stringify({ readyMs } satisfies PodAnswer)}\n`)
  }
}

interface Place {
  readonly config: KubeConfig
  readonly namespace: string
}

/** Makes a pod, waits until it is Ready, deletes it and waits until it is gone. @returns milliseconds from the first to the second. */
async function timePod({ config, namespace }: Place, { name, hostPort }: PodRequest): Promise<number> {
  const core = config.makeApiClient(CoreV1Api)
  using watched = await WatchedPod.watch({ config, namespace }, name)
  const body = serverPod({ name, args: ['pause'], ...(hostPort === undefined ? {} : { hostPort }) })
  const startedAtMs = performance.now()
  await core.createNamespacedPod({ namespace, body })
  await watched.until('Ready', READY_MS, (_, pod) => isReady(pod))
  const readyMs = performance.now() - startedAtMs
  await core.deleteNamespacedPod({ name, namespace, gracePeriodSeconds: 1 })
  await watched.until('gone', GONE_MS, phase => phase === 'DELETED')
  return readyMs
}

/** A pod, with what the API server tells of it as it comes. The watch is of one pod: one that lies idle is broken off by the client. */
class WatchedPod implements Disposable {
  readonly #name: string
  readonly #events = new EventEmitter()
  #last: { readonly phase: string; readonly pod: V1Pod } | undefined
  #stop: () => void = () => {}

  private constructor(name: string) {
    this.#name = name
  }

  static async watch({ config, namespace }: Place, name: string): Promise<WatchedPod> {
    const watched = new WatchedPod(name)
    const watching = await new Watch(config).watch(
      `/api/v1/namespaces/${namespace}/pods`,
      { fieldSelector: `metadata.name=${name}` },
      (phase, pod: V1Pod) => {
        watched.#last = { phase, pod }
        watched.#events.emit('news')
      },
      // What is waited for says then that it did not come.
      () => {},
    )
    watched.#stop = () => watching.abort()
    return watched
  }

  /** Waits until the last event, and the pod in it, are as wanted. @throws {Error} with the pod as it was last heard of. */
  async until(what: string, timeoutMs: number, isSeen: (phase: string, pod: V1Pod) => boolean): Promise<void> {
    const signal = AbortSignal.timeout(timeoutMs)
    while (this.#last === undefined || !isSeen(this.#last.phase, this.#last.pod)) {
      try {
        await once(this.#events, 'news', { signal })
      } catch (cause) {
        const seen = this.#last === undefined ? 'nothing was heard of it' : JSON.stringify(this.#last.pod.status)
        throw new Error(`pod ${this.#name}: not ${what} after ${timeoutMs} ms: ${seen}`, { cause })
      }
    }
  }

  [Symbol.dispose](): void {
    this.#stop()
  }
}

function isReady({ status }: V1Pod): boolean {
  return status?.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True') === true
}

if (import.meta.main) await serve(process.argv[2] ?? '', process.argv[3] ?? '')

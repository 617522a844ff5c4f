import { join } from 'node:path'
import { Client, credentials } from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import { loadSync } from '@grpc/proto-loader'

const PROTO_FILE = join(import.meta.dirname, '..', 'runtime-v1.proto')

/** A sandbox takes 65 ms on an idle machine; a call that takes this long hangs. */
const CALL_MS = 30_000

/** What RunPodSandbox is asked for. */
export interface PodRequest {
  readonly name: string
  /** Unique among the pods of a test. */
  readonly uid: string
  readonly cgroupParent: string
  readonly annotations?: Readonly<Record<string, string>>
}

/** A pod sandbox as the runtime reports it. */
export interface PodStatus {
  readonly isReady: boolean
  /** The first address, then the additional ones, in the runtime's order; empty after StopPodSandbox. */
  readonly addresses: readonly string[]
  /** The pod's network namespace as the node sees it. */
  readonly netnsPath: string
}

/** One condition of the runtime, such as NetworkReady. */
export interface RuntimeCondition {
  readonly type: string
  readonly status: boolean
  readonly reason: string
  readonly message: string
}

/** The calls of the Container Runtime Interface (v1) that kubelet makes for a pod's sandbox. Each one has a deadline of 30 s. */
export class CriClient {
  readonly #client: Client
  readonly #methods = loadMethods()

  /** @param socketPath the runtime's socket; nothing is sent before the first call. */
  constructor(socketPath: string) {
    this.#client = new Client(`unix://${socketPath}`, credentials.createInsecure())
  }

  /** The runtime's name and version, such as "containerd 1.6.20". */
  async version(): Promise<string> {
    const reply = (await this.#call('RuntimeService/Version', {})) as { runtimeName: string; runtimeVersion: string }
    return `${reply.runtimeName} ${reply.runtimeVersion}`
  }

  async status(): Promise<readonly RuntimeCondition[]> {
    const reply = (await this.#call('RuntimeService/Status', {})) as { status: { conditions: RuntimeCondition[] } }
    return reply.status.conditions
  }

  /** Whether the runtime has the image, so that it will not try to pull it. */
  async hasImage(image: string): Promise<boolean> {
    const reply = (await this.#call('ImageService/ImageStatus', { image: { image } })) as { image: unknown }
    return reply.image !== null
  }

  /** @returns the sandbox's ID, which is CNI_CONTAINERID too. */
  async runPodSandbox({ name, uid, cgroupParent, annotations = {} }: PodRequest): Promise<string> {
    const config = {
      metadata: { name, uid, namespace: 'tulle-test', attempt: 0 },
      hostname: name,
      annotations,
      // With no servers the runtime would copy the machine's /etc/resolv.conf, which may point into a /run that is hidden.
      dnsConfig: { servers: ['192.0.2.53'] },
      linux: { cgroupParent },
    }
    const reply = (await this.#call('RuntimeService/RunPodSandbox', { config })) as { podSandboxId: string }
    return reply.podSandboxId
  }

  async stopPodSandbox(podSandboxId: string): Promise<void> {
    await this.#call('RuntimeService/StopPodSandbox', { podSandboxId })
  }

  async removePodSandbox(podSandboxId: string): Promise<void> {
    await this.#call('RuntimeService/RemovePodSandbox', { podSandboxId })
  }

  async podSandboxStatus(podSandboxId: string): Promise<PodStatus> {
    const reply = (await this.#call('RuntimeService/PodSandboxStatus', { podSandboxId, verbose: true })) as StatusReply
    const { state, network } = reply.status
    const ips = network === null ? [] : [network.ip, ...network.additionalIps.map(({ ip }) => ip)]
    return {
      isReady: state === 'SANDBOX_READY',
      addresses: ips.filter(ip => ip !== ''),
      netnsPath: netnsPathOf(reply.info['info'] ?? '{}'),
    }
  }

  [Symbol.dispose](): void {
    this.#client.close()
  }

  /** Every reply is checked by its message's definition when it is decoded: the callers name that definition's type. */
  async #call(method: string, request: object): Promise<unknown> {
    const definition = this.#methods.get(method)
    if (definition === undefined) throw new Error(`${PROTO_FILE} has no method ${method}`)
    const { path, requestSerialize, responseDeserialize } = definition
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        { deadline: Date.now() + CALL_MS },
        (error, reply) => {
          if (error) reject(new Error(`${method}: ${error.details || error.message}`, { cause: error }))
          else resolve(reply)
        },
      )
    })
  }
}

interface StatusReply {
  readonly status: {
    readonly state: string
    readonly network: { readonly ip: string; readonly additionalIps: readonly { readonly ip: string }[] } | null
  }
  readonly info: Readonly<Record<string, string>>
}

/** The verbose status of containerd holds the OCI runtime specification of the sandbox as JSON text. */
function netnsPathOf(info: string): string {
  const { runtimeSpec } = JSON.parse(info) as {
    runtimeSpec?: { linux?: { namespaces?: { type: string; path?: string }[] } }
  }
  return runtimeSpec?.linux?.namespaces?.find(({ type }) => type === 'network')?.path ?? ''
}

type UnaryMethod = MethodDefinition<object, object>

/** The methods of the proto file by "Service/Method". */
function loadMethods(): ReadonlyMap<string, UnaryMethod> {
  const methods = new Map<string, UnaryMethod>()
  const loaded = loadSync(PROTO_FILE, { longs: String, enums: String, defaults: true })
  for (const [name, definition] of Object.entries(loaded)) {
    if ('format' in definition) continue // a message or an enum
    const service = name.replace('runtime.v1.', '')
    for (const [method, each] of Object.entries(definition)) methods.set(`${service}/${method}`, each)
  }
  return methods
}

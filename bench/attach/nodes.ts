import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { nativeTool } from '../native-tools.ts'
import type { ContenderName } from '../report/contenders.ts'
import type { Sample } from '../report/samples.ts'
import type { Contender } from './contenders.ts'
import { NodeClient } from './node-client.ts'
import type { NodeRequest } from './node-protocol.ts'
import type { Turn } from './turns.ts'

/** A turn that takes longer has hung: the longest are 250 pods at once with the slowest peer. */
const TURN_MS = 300_000
/** A turn that has begun may take so much longer than there is time. */
const OVERTIME_MS = 45_000

export interface NodesOptions {
  readonly folder: string
  readonly contenders: readonly Contender[]
  /** So many pods come and go on a new node before anything is measured there. */
  readonly warmUpPods: number
  /** Hears what failed. */
  readonly say: (line: string) => void
}

/** The nodes of the contenders, each made for its first turn, and anew after a failure. */
export class Nodes implements AsyncDisposable {
  readonly #options: NodesOptions
  readonly #open = new Map<ContenderName, NodeClient>()
  readonly #warm = new Set<NodeClient>()
  #made = 0

  constructor(options: NodesOptions) {
    this.#options = options
  }

  /** Never throws: what cannot be done is a finding, not the end of the run. */
  async take({ key, contender, requests }: Turn, untilMs: number): Promise<readonly Sample[]> {
    const samples: Sample[] = []
    try {
      const node = await this.#nodeOf(contender)
      const ask = async (request: NodeRequest) => {
        const leftMs = Math.max(untilMs - performance.now(), 0) + OVERTIME_MS
        return await node.ask(request, Math.min(leftMs, TURN_MS))
      }
      for (const request of requests) {
        // The first calls pay for cold caches, and make what belongs to the node: they are not counted.
        if (request.do === 'calls' || request.do === 'stand') await this.#warmUp(node, ask)
        samples.push(...(await ask(request)))
      }
    } catch (failure) {
      const message = failure instanceof Error ? failure.message : String(failure)
      this.#options.say(`${key}: ${message}`)
      samples.push({ kind: 'trouble', step: key, message })
      await this.#open.get(contender)?.kill()
      this.#open.delete(contender)
    }
    return samples
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.#open.values()) await node[Symbol.asyncDispose]()
  }

  async #warmUp(node: NodeClient, ask: (request: NodeRequest) => Promise<unknown>): Promise<void> {
    if (this.#warm.has(node)) return
    this.#warm.add(node)
    for (const hasPort of [false, true])
      await ask({ do: 'calls', pods: this.#options.warmUpPods, isAtOnce: false, hasPort })
  }

  async #nodeOf(name: ContenderName): Promise<NodeClient> {
    const found = this.#open.get(name)
    if (found !== undefined) return found
    const contender = this.#options.contenders.find(each => each.name === name)
    if (contender === undefined) throw new Error(`no contender ${name}`)
    const folder = join(this.#options.folder, `node-${this.#made++}`)
    mkdirSync(folder)
    const tools = { runner: await nativeTool('runner'), roundTrips: await nativeTool('round-trips') }
    const node = await NodeClient.open({ do: 'open', contender, folder, ...tools })
    this.#open.set(name, node)
    return node
  }
}

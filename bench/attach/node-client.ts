import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import type { Sample } from '../report/samples.ts'
import type { NodeAnswer, NodeRequest } from './node-protocol.ts'

const CLOSE_MS = 10_000
const MAX_COMPLAINT = 4_000

/** The node of a contender, in a process of its own. */
export class NodeClient implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #answers: AsyncIterator<string>
  #complaint = ''

  private constructor(child: ChildProcess, lines: Interface) {
    this.#child = child
    this.#answers = lines[Symbol.asyncIterator]()
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#complaint = (this.#complaint + chunk.toString('utf8')).slice(-MAX_COMPLAINT)
    })
  }

  /** @throws {Error} when the node cannot be made, or what the contender needs does not start. */
  static async open(request: Extract<NodeRequest, { do: 'open' }>): Promise<NodeClient> {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'node.ts')], { stdio: ['pipe', 'pipe', 'pipe'] })
    if (child.stdout === null) throw new Error('the node has no stdout')
    const node = new NodeClient(child, createInterface({ input: child.stdout }))
    try {
      await node.ask(request, 60_000)
      return node
    } catch (cause) {
      await node.kill()
      throw cause
    }
  }

  /** @throws {Error} when the node cannot do it, or not within `timeoutMs`: it is of no use then. */
  async ask(request: NodeRequest, timeoutMs: number): Promise<readonly Sample[]> {
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`)
    const { promise: late, reject } = Promise.withResolvers<never>()
    const timer = setTimeout(() => reject(new Error(`${request.do}: no answer in ${timeoutMs} ms`)), timeoutMs)
    try {
      const line = await Promise.race([this.#answers.next(), late])
      if (line.done === true) throw new Error(`${request.do}: the node ended: ${this.#complaint}`)
      const answer = JSON.parse(line.value) as NodeAnswer
      if ('failure' in answer) throw new Error(answer.failure)
      return answer.samples
    } finally {
      clearTimeout(timer)
    }
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }

  /** Ends it in order: it stops what it has started. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), CLOSE_MS)
    const ended = once(this.#child, 'exit')
    this.#child.stdin?.end()
    await ended
    clearTimeout(timer)
  }
}

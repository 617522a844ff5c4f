import { kill } from 'node:process'
import { rm } from 'node:fs/promises'
import { CommandError, execute } from '../e2e/parts/command.ts'
import { Netns } from '../e2e/netns/harness/namespace.ts'
import { until } from '../e2e/netns/harness/until.ts'
import { type NodeState, leftoversSince, processesHere, readNodeState } from './leftovers.ts'
import type { Subject } from './subject.ts'
import { type Step, Transcript } from './transcript.ts'

/** The preparation of a node may download nothing, but a daemon may take its time on a slow machine. */
const SETUP_TIMEOUT_MS = 60_000

/**
 * The node that a plugin works on: a network namespace with lo up, prepared by the subject's own command.
 *
 * It is used for many checks, and thrown away after the first that leaves something behind: no check may suffer from
 * another.
 */
export class Node implements AsyncDisposable {
  readonly netns: Netns
  readonly #subject: Subject
  readonly #transcript = new Transcript()
  #clean: NodeState = []

  private constructor(netns: Netns, subject: Subject) {
    this.netns = netns
    this.#subject = subject
  }

  /** @throws {CommandError} when the preparation fails. */
  static async create(subject: Subject): Promise<Node> {
    const node = new Node(await Netns.create('node', { isLoopbackUp: true }), subject)
    try {
      await node.#setUp()
      return node
    } catch (cause) {
      await node[Symbol.asyncDispose]()
      throw cause
    }
  }

  /** What makes a node like this one. */
  get steps(): readonly Step[] {
    return this.#transcript.steps
  }

  /** Takes what is there now for the state of a clean node. */
  async declareClean(): Promise<void> {
    this.#clean = await this.state()
  }

  async state(): Promise<NodeState> {
    const { stateFolders, ignoredFiles } = this.#subject
    return await readNodeState(this.netns, { folders: stateFolders, ignored: ignoredFiles })
  }

  /** What is there that a clean node has not; waits a while for it to go. */
  async leftovers(): Promise<readonly string[]> {
    return await leftoversSince(this.#clean, () => this.state())
  }

  /** Kills every process that was left, empties the folders of state, and deletes the namespace. */
  async [Symbol.asyncDispose](): Promise<void> {
    await killLeftProcesses()
    for (const folder of this.#subject.stateFolders) await rm(folder, { recursive: true, force: true })
    await this.netns.delete()
  }

  async #setUp(): Promise<void> {
    const { name } = this.netns
    this.#note(`ip netns add ${name} && nsenter --net=${this.netns.path} ip link set lo up`)
    if (this.#subject.setup === undefined) return
    const outcome = await this.shell(this.#subject.setup)
    this.#transcript.add({
      command: `nsenter --net=${this.netns.path} sh -c ${JSON.stringify(this.#subject.setup)}`,
      ...outcome,
    })
    if (outcome.exitCode !== 0) throw new CommandError(['sh', '-c', this.#subject.setup], outcome)
  }

  /** Runs one of the subject's command lines on the node. A daemon that it leaves must not keep its output. */
  async shell(line: string): Promise<Awaited<ReturnType<typeof execute>>> {
    return await execute(this.netns.command(['sh', '-c', line]), {
      env: this.#subject.env,
      timeoutMs: SETUP_TIMEOUT_MS,
    })
  }

  #note(command: string): void {
    this.#transcript.add({ command, exitCode: 0, stdout: '', stderr: '' })
  }
}

/** Kills what shares the suite's mount namespace and is no child of the suite: it can only come from what the suite ran. */
async function killLeftProcesses(): Promise<void> {
  for (const { pid } of await processesHere()) {
    try {
      kill(pid, 'SIGKILL')
    } catch (cause) {
      if (!(cause instanceof Error && 'code' in cause && cause.code === 'ESRCH')) throw cause
    }
  }
  await until('every left process is gone', async () => (await processesHere()).length === 0)
}

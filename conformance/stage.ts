import type { Command, CommandOutcome } from '../e2e/parts/command.ts'
import { type JsonObject, isObject } from '../e2e/netns/harness/json.ts'
import { Netns } from '../e2e/netns/harness/namespace.ts'
import { Unmet } from './check.ts'
import type { Node } from './node.ts'
import { type Outcome, describeOutcome } from './outcome.ts'
import { runPlugin } from './run-plugin.ts'
import { type Attachment, type CallInput, type ChainOutcome, Runtime, type Verb, newAttachment } from './runtime.ts'
import type { ResultInterface } from './result.ts'
import type { Subject } from './subject.ts'
import { Transcript, renderCommand, renderInvocation } from './transcript.ts'

/** A container of a check. */
export interface Pod {
  readonly netns: Netns
  readonly attachment: Attachment
}

/** A container whose ADD succeeded. */
export interface AddedPod extends Pod {
  readonly result: JsonObject
}

/** A call that no runtime would make: every part of the input can be anything. */
export interface DirectCall extends CallInput {
  /** Added to or replacing the environment; `undefined` takes a variable away. */
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Replaces all of standard input. */
  readonly stdin?: string
  /** Standard input is this file instead: one that cannot be read. */
  readonly stdinPath?: string
  /** Instead of the plugin configuration object under test. */
  readonly plugin?: JsonObject
}

export interface PodOptions {
  /** The network that it is for; the subject's when absent. */
  readonly runtime?: Runtime
  readonly attachment?: Partial<Attachment>
}

/** Another network than the subject's, made from it. */
export interface Variation {
  readonly conflist?: JsonObject
  readonly cniPath?: readonly string[]
}

/** One check at work: what it may do to the node, and what it has seen. Everything that it makes is taken away at its end. */
export class Stage implements AsyncDisposable {
  readonly subject: Subject
  readonly node: Node
  readonly runtime: Runtime
  readonly transcript = new Transcript()
  /** What was seen and is not as expected. */
  readonly problems: string[] = []
  /** Every run of a plugin by this check. */
  readonly outcomes: Outcome[] = []
  /** True when the check asked that the node is used no more. */
  isNodeSpent = false
  /** Every run of a plugin by the checks before. */
  readonly journal: readonly Outcome[]
  readonly #cleanups: (() => Promise<unknown>)[] = []
  /** What ADD returned, by container: a DEL gets it. */
  readonly #results = new Map<string, JsonObject>()

  constructor(subject: Subject, node: Node, journal: readonly Outcome[]) {
    this.journal = journal
    this.subject = subject
    this.node = node
    this.runtime = this.runtimeWith()
  }

  /** Notes `seen` as a problem unless `condition` holds. */
  expect(condition: boolean, seen: string | (() => string)): void {
    if (!condition) this.problems.push(typeof seen === 'string' ? seen : seen())
  }

  /** Notes a problem unless the call succeeded. */
  expectSuccess(outcome: ChainOutcome | Outcome, when = ''): void {
    const last = 'decisive' in outcome ? outcome.decisive : outcome
    this.expect(last.exitCode === 0, () => `${describeOutcome(last)}${when && ` (${when})`}`)
  }

  /** Notes a problem unless the call failed, by itself. */
  expectFailure(outcome: ChainOutcome | Outcome, when = ''): void {
    const last = 'decisive' in outcome ? outcome.decisive : outcome
    const hasFailed = last.exitCode !== 0 && last.exitCode !== null && !last.isTimedOut
    this.expect(hasFailed, () => `${describeOutcome(last)}${when && ` (${when})`}`)
  }

  /** A runtime for another network. */
  runtimeWith(variation: Variation = {}): Runtime {
    return new Runtime({
      conflist: variation.conflist ?? this.subject.conflist,
      cniPath: variation.cniPath ?? this.subject.cniPath,
      env: this.subject.env,
      run: async (invocation, options = {}) => {
        const outcome = await runPlugin(invocation, { netnsPath: this.node.netns.path, ...options })
        this.outcomes.push(outcome)
        this.transcript.add({ command: renderInvocation(invocation, this.node.netns.path), ...outcome })
        return outcome
      },
    })
  }

  /** A container with a namespace of its own. At the end of the check it is deleted from the network, then for good. */
  async pod(options: PodOptions = {}): Promise<Pod> {
    const netns = await Netns.create('pod')
    this.#note(`ip netns add ${netns.name}`)
    const pod = { netns, attachment: { ...newAttachment(netns, this.ifName), ...options.attachment } }
    this.#cleanups.push(async () => {
      await (options.runtime ?? this.runtime).del(pod.attachment, this.#results.get(pod.attachment.containerId))
      await netns.delete()
    })
    return pod
  }

  /** The interface name that attachments get. */
  get ifName(): string {
    return this.subject.ifName ?? 'eth0'
  }

  /** A container that is attached. @throws {Unmet} when ADD fails. */
  async added(options: PodOptions = {}): Promise<AddedPod> {
    const pod = await this.pod(options)
    return { ...pod, result: await this.mustAdd(pod, options.runtime) }
  }

  /** The result of ADD. @throws {Unmet} when ADD fails or gives none. */
  async mustAdd({ attachment }: Pod, runtime = this.runtime): Promise<JsonObject> {
    const { result, decisive } = await runtime.add(attachment)
    if (result === undefined) throw new Unmet(describeOutcome(decisive))
    this.#results.set(attachment.containerId, result)
    return result
  }

  /** Calls the plugin under test alone, in a way that a check makes up. */
  async call(verb: Verb, call: DirectCall): Promise<Outcome> {
    const invocation = this.runtime.invocation(verb, call.plugin ?? this.runtime.plugin, call)
    const env = Object.entries({ ...invocation.env, ...call.env }).filter(isSet)
    const changed = {
      ...invocation,
      env: Object.fromEntries(env),
      stdin: call.stdin ?? invocation.stdin,
      ...(call.stdinPath === undefined ? {} : { stdinPath: call.stdinPath }),
    }
    const outcome = await runPlugin(changed, { netnsPath: this.node.netns.path })
    this.outcomes.push(outcome)
    this.transcript.add({ command: renderInvocation(changed, this.node.netns.path), ...outcome })
    return outcome
  }

  /** Runs a command in a namespace, the node's or a pod's. @throws {Unmet} unless it succeeds. */
  async run(netns: Netns, command: Command): Promise<string> {
    const outcome = await this.execute(netns, command)
    if (outcome.exitCode !== 0) throw new Unmet(`${renderCommand(command)}: ${outcome.stderr.trim()}`)
    return outcome.stdout
  }

  /** Makes an interface in a pod, as another plugin would: one end of a veth pair, a kind that every kernel has. */
  async addInterface(pod: Pod, name: string): Promise<void> {
    await this.run(pod.netns, ['ip', 'link', 'add', name, 'up', 'type', 'veth', 'peer', 'name', `${name}-x`])
  }

  /**
   * Attaches a container to another network than the subject's and detaches it: what such a network makes for the node, and
   * keeps, is no leak of the attachments that follow.
   */
  async prime(options: PodOptions & { readonly runtime: Runtime }): Promise<void> {
    const { runtime } = options
    const pod = await this.pod(options)
    const { result } = await runtime.add(pod.attachment)
    await runtime.del(pod.attachment, result)
    await this.node.declareClean()
  }

  async execute(netns: Netns, command: Command): Promise<CommandOutcome> {
    const outcome = await netns.execute(command)
    this.transcript.add({ command: renderCommand(netns.command(command)), ...outcome })
    return outcome
  }

  /** Deletes the namespace of a pod, as when a machine was restarted. */
  async deleteNetns({ netns }: Pod): Promise<void> {
    this.#note(`ip netns delete ${netns.name}`)
    await netns.delete()
  }

  /** Shows a call of an earlier check: what this one has to say is about that. */
  noteExample(outcome: Outcome): void {
    this.transcript.clear()
    this.transcript.add({ command: renderInvocation(outcome, this.node.netns.path), ...outcome })
  }

  /** What is done at the end of the check, whatever happens; the last first. */
  atEnd(cleanup: () => Promise<unknown>): void {
    this.#cleanups.push(cleanup)
  }

  /** The IPAM section of the plugin under test, or `undefined` when it delegates nothing. */
  get ipam(): JsonObject | undefined {
    const { ipam } = this.runtime.plugin
    return isObject(ipam) && typeof ipam['type'] === 'string' ? ipam : undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const cleanup of this.#cleanups.toReversed()) await cleanup()
  }

  #note(command: string): void {
    this.transcript.add({ command, exitCode: 0, stdout: '', stderr: '' })
  }
}

function isSet(entry: readonly [string, string | undefined]): entry is [string, string] {
  return entry[1] !== undefined
}

/** True for the entry of a result that stands for the interface inside of the container. */
export function isInterfaceOf(entry: ResultInterface, { attachment }: Pod): boolean {
  return entry.name === attachment.ifName && entry.sandbox === attachment.netnsPath
}

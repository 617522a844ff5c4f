import { randomBytes } from 'node:crypto'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { type JsonObject, asString, isObject } from '../e2e/netns/harness/json.ts'
import { type NetworkList, isAtLeast, parseNetworkList } from '../e2e/netns/harness/network-list.ts'
import type { Netns } from '../e2e/netns/harness/namespace.ts'
import { type Outcome, type Invocation, documentOf } from './outcome.ts'

export type Verb = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'

/** One interface of one container, as a runtime knows it. */
export interface Attachment {
  readonly containerId: string
  /** Path of the namespace; empty when there is none any more. */
  readonly netnsPath: string
  readonly ifName: string
  /** `K=V;K=V`. */
  readonly args?: string
  /** Capability arguments by name; each plugin gets those that it declares. */
  readonly capabilities?: JsonObject
}

/** What the plugins of a list did, in the order in which they ran. */
export interface ChainOutcome {
  readonly calls: readonly Outcome[]
  readonly isSuccess: boolean
  /** Of the plugin that failed, or else ran last. */
  readonly decisive: Outcome
  /** The result of the last plugin, after an ADD that succeeded. */
  readonly result?: JsonObject
}

/** What goes into one call beside the list. */
export interface CallInput {
  readonly attachment?: Attachment
  readonly prevResult?: JsonObject
  /** Further keys of the configuration object; `undefined` takes a key away. */
  readonly keys?: JsonObject
  readonly killAfterMs?: number
}

/** Runs one invocation on a node. */
export type Run = (invocation: Invocation, options?: { readonly killAfterMs?: number }) => Promise<Outcome>

export interface RuntimeOptions {
  readonly conflist: JsonObject
  readonly cniPath: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly run: Run
}

/** An attachment of a new container, with an ID like containerd's: 64 hexadecimal digits. */
export function newAttachment(netns: Pick<Netns, 'path'>, ifName = 'eth0'): Attachment {
  return { containerId: randomBytes(32).toString('hex'), netnsPath: netns.path, ifName }
}

/**
 * A runtime as section 3 of the specification describes it: executes the plugins of a list in order, hands each the result of
 * the one before, and deletes in reverse order. It judges nothing: what plugins did is the checks' to look at.
 */
export class Runtime {
  readonly list: NetworkList
  readonly #options: RuntimeOptions

  constructor(options: RuntimeOptions) {
    this.#options = options
    this.list = parseNetworkList(options.conflist, '1.1.0')
  }

  hasVerb(verb: 'CHECK' | 'GC' | 'STATUS'): boolean {
    return isAtLeast(this.list.cniVersion, verb === 'CHECK' ? '0.4.0' : '1.1.0')
  }

  /** Up to the first plugin that fails. */
  async add(attachment: Attachment, keys?: JsonObject): Promise<ChainOutcome> {
    const calls: Outcome[] = []
    let prevResult: JsonObject | undefined
    for (const plugin of this.list.plugins) {
      const call = await this.call('ADD', plugin, {
        attachment,
        ...(prevResult && { prevResult }),
        ...(keys && { keys }),
      })
      calls.push(call)
      prevResult = documentOf(call)
      if (call.exitCode !== 0) break
    }
    const outcome = chainOutcome(calls)
    return outcome.isSuccess && prevResult !== undefined ? { ...outcome, result: prevResult } : outcome
  }

  async check(attachment: Attachment, prevResult: JsonObject | undefined): Promise<ChainOutcome> {
    return await this.#callEach('CHECK', this.list.plugins, { attachment, ...(prevResult && { prevResult }) })
  }

  /** In reverse order. Before 0.4.0 a DEL got no prevResult. */
  async del(attachment: Attachment, prevResult?: JsonObject): Promise<ChainOutcome> {
    const isGiven = prevResult !== undefined && isAtLeast(this.list.cniVersion, '0.4.0')
    return await this.#callEach('DEL', this.list.plugins.toReversed(), { attachment, ...(isGiven && { prevResult }) })
  }

  /** Asks every plugin, also after one failed. Without `valid` they get no list. */
  async gc(valid?: readonly Attachment[]): Promise<ChainOutcome> {
    const list = valid?.map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }))
    const keys = list && { 'cni.dev/valid-attachments': list, 'cni.dev/attachments': list }
    const calls: Outcome[] = []
    for (const plugin of this.list.plugins) calls.push(await this.call('GC', plugin, { ...(keys && { keys }) }))
    return chainOutcome(calls)
  }

  async status(): Promise<ChainOutcome> {
    return await this.#callEach('STATUS', this.list.plugins, {})
  }

  /** The plugin under test: the first of the list. */
  get plugin(): JsonObject {
    const [plugin] = this.list.plugins
    if (plugin === undefined) throw new Error('plugins: want at least one')
    return plugin
  }

  /** Calls one plugin as the runtime would. */
  async call(verb: Verb, plugin: JsonObject, input: CallInput): Promise<Outcome> {
    const { killAfterMs } = input
    return await this.#options.run(
      this.invocation(verb, plugin, input),
      killAfterMs === undefined ? {} : { killAfterMs },
    )
  }

  /** What `call` would execute. */
  invocation(verb: Verb, plugin: JsonObject, input: CallInput): Invocation {
    const type = asString(plugin['type'], 'plugins[].type')
    return {
      executable: findExecutable(type, this.#options.cniPath),
      env: this.#environment(verb, input.attachment),
      stdin:
        verb === 'VERSION'
          ? JSON.stringify({ cniVersion: this.list.cniVersion })
          : JSON.stringify(this.#configuration(plugin, input)),
    }
  }

  async #callEach(verb: Verb, plugins: readonly JsonObject[], input: CallInput): Promise<ChainOutcome> {
    const calls: Outcome[] = []
    for (const plugin of plugins) {
      const call = await this.call(verb, plugin, input)
      calls.push(call)
      if (call.exitCode !== 0) break
    }
    return chainOutcome(calls)
  }

  #environment(verb: Verb, attachment: Attachment | undefined): Readonly<Record<string, string>> {
    const common = { ...this.#options.env, CNI_COMMAND: verb, CNI_PATH: this.#options.cniPath.join(':') }
    if (attachment === undefined) return common
    return {
      ...common,
      CNI_CONTAINERID: attachment.containerId,
      CNI_NETNS: attachment.netnsPath,
      CNI_IFNAME: attachment.ifName,
      ...(attachment.args === undefined ? {} : { CNI_ARGS: attachment.args }),
    }
  }

  #configuration(plugin: JsonObject, { attachment, prevResult, keys }: CallInput): JsonObject {
    const { capabilities, ...own } = plugin
    const declared = isObject(capabilities) ? capabilities : {}
    const given = Object.entries(attachment?.capabilities ?? {}).filter(([name]) => declared[name] === true)
    return {
      ...own,
      name: this.list.name,
      cniVersion: this.list.cniVersion,
      ...(prevResult && { prevResult }),
      ...(given.length > 0 && { runtimeConfig: Object.fromEntries(given) }),
      ...keys,
    }
  }
}

/** @throws {Error} naming `type` when no folder of `cniPath` has it. */
export function findExecutable(type: string, cniPath: readonly string[]): string {
  const found = cniPath.map(folder => join(folder, type)).find(isExecutable)
  if (found === undefined)
    throw new Error(`Cannot find plugin ${JSON.stringify(type)} in ${cniPath.join(':') || 'an empty CNI_PATH'}`)
  return found
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    // Not there, or not to be executed: the next folder may have it.
    return false
  }
}

/** @throws {Error} for a list without plugins. */
function chainOutcome(calls: readonly Outcome[]): ChainOutcome {
  // GC goes on after a failure: then the chain's outcome is that failure.
  const failed = calls.find(call => call.exitCode !== 0)
  const decisive = failed ?? calls.at(-1)
  if (decisive === undefined) throw new Error('plugins: want at least one')
  return { calls, isSuccess: failed === undefined, decisive }
}

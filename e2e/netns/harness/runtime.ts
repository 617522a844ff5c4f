import { randomBytes } from 'node:crypto'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import { type PluginOutcome, invokePlugin } from './invoke.ts'
import { type JsonObject, asString, isObject } from './json.ts'
import { type NetworkList, isAtLeast, parseNetworkList } from './network-list.ts'

export interface RuntimeOptions {
  /** The content of a conflist. */
  readonly conflist: JsonObject
  /** Folders with plugin executables, searched in order. */
  readonly cniPath: readonly string[]
  /** The newest specification version that this runtime plays to know; 1.1.0 when absent. */
  readonly runtimeVersion?: string
  /** Environment of the plugins beside CNI_*; only this process's PATH when absent. */
  readonly env?: Readonly<Record<string, string>>
  /** How long one plugin may run before it counts as one that hangs; as in invokePlugin() when absent. */
  readonly timeoutMs?: number
}

/** What the runtime knows of one interface of one container. */
export interface RuntimeAttachment {
  readonly containerId: string
  /** Path of the namespace; empty when it is gone. */
  readonly netnsPath: string
  readonly ifName: string
  /** `K=V;K=V` for CNI_ARGS. */
  readonly args?: string
  /** Capability arguments by capability name; each plugin gets those that it declares. */
  readonly capabilities?: JsonObject
}

/** One plugin of the chain, and what it did. */
export interface PluginCall extends PluginOutcome {
  readonly type: string
}

/** What the chain did. `exitCode`, `stdout`, `stderr` and `json` are those of the plugin that failed, or else ran last. */
export interface ChainOutcome {
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
  readonly json?: JsonObject
  /** Every plugin that ran, in the order in which they ran. */
  readonly calls: readonly PluginCall[]
  readonly wallMs: number
}

type Verb = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'

/** An attachment of a new container, with an ID like containerd's: 64 hexadecimal digits. */
export function newAttachment(netns: { readonly path: string }, ifName = 'eth0'): RuntimeAttachment {
  return { containerId: randomBytes(32).toString('hex'), netnsPath: netns.path, ifName }
}

/**
 * A CNI runtime as small as it can be while it does what libcni does (libcni/api.go 1.3): it executes the plugins of a list in
 * order, hands each the result before it, keeps the last result of an ADD for CHECK and DEL, and deletes in reverse order.
 * It keeps results in memory, unlike libcni, so that a test leaves no files.
 */
export class CniRuntime {
  readonly list: NetworkList
  readonly #options: RuntimeOptions
  readonly #results = new Map<string, { readonly attachment: RuntimeAttachment; readonly result: JsonObject }>()

  constructor(options: RuntimeOptions) {
    this.#options = options
    this.list = parseNetworkList(options.conflist, options.runtimeVersion ?? '1.1.0')
  }

  /** The result that the runtime keeps of `attachment`. */
  resultOf(attachment: RuntimeAttachment): JsonObject | undefined {
    return this.#results.get(keyOf(attachment))?.result
  }

  /** Adds one container. Like libcni it does not delete after a failure: that is the caller's to do. */
  async add(attachment: RuntimeAttachment): Promise<ChainOutcome> {
    const calls: PluginCall[] = []
    let result: JsonObject | undefined
    for (const plugin of this.list.plugins) {
      const call = await this.#call('ADD', plugin, { attachment, ...(result && { prevResult: result }) })
      calls.push(call)
      if (call.exitCode !== 0) return outcomeOf(calls)
      if (call.json === undefined) throw new Error(`${call.type} ADD: succeeded without a result`)
      result = call.json
    }
    if (result !== undefined) this.#results.set(keyOf(attachment), { attachment, result })
    return outcomeOf(calls)
  }

  /**
   * Checks one container.
   *
   * @throws {Error} when the list's version has no CHECK, or ADD has left no result: libcni calls no plugin then.
   */
  async check(attachment: RuntimeAttachment): Promise<ChainOutcome> {
    if (!isAtLeast(this.list.cniVersion, '0.4.0'))
      throw new Error(`CHECK: cniVersion ${this.list.cniVersion} has none, want 0.4.0`)
    if (this.list.isCheckDisabled) return outcomeOf([])
    const prevResult = this.resultOf(attachment)
    if (prevResult === undefined) throw new Error(`CHECK: no result of ${keyOf(attachment)} is kept`)
    return await this.#callEach('CHECK', this.list.plugins, { attachment, prevResult })
  }

  /** Deletes one container. `isResultLost` plays a runtime that was killed before it could keep the result. */
  async del(attachment: RuntimeAttachment, options: { readonly isResultLost?: boolean } = {}): Promise<ChainOutcome> {
    const kept = options.isResultLost === true ? undefined : this.resultOf(attachment)
    // Before 0.4.0, DEL got no prevResult.
    const prevResult = isAtLeast(this.list.cniVersion, '0.4.0') ? kept : undefined
    const outcome = await this.#callEach('DEL', this.list.plugins.toReversed(), {
      attachment,
      ...(prevResult && { prevResult }),
    })
    if (outcome.exitCode === 0) this.#results.delete(keyOf(attachment))
    return outcome
  }

  /**
   * Collects what is not in `valid`: deletes the containers that the runtime itself remembers, then sends GC where the version has
   * it. Without `valid` the plugins get no list at all, which to them means: collect nothing (G3).
   */
  async gc(valid?: readonly RuntimeAttachment[]): Promise<ChainOutcome> {
    if (this.list.isGcDisabled) return outcomeOf([])
    const keep = new Set(valid?.map(keyOf))
    const stale = [...this.#results.values()].filter(({ attachment }) => !keep.has(keyOf(attachment)))
    const calls: PluginCall[] = []
    for (const { attachment } of stale) calls.push(...(await this.del(attachment)).calls)
    if (!isAtLeast(this.list.cniVersion, '1.1.0')) return outcomeOf(calls)
    const attachments = valid?.map(({ containerId, ifName }) => ({ containerID: containerId, ifname: ifName }))
    const inject = attachments && { 'cni.dev/valid-attachments': attachments, 'cni.dev/attachments': attachments }
    for (const plugin of this.list.plugins) calls.push(await this.#call('GC', plugin, { ...(inject && { inject }) }))
    return outcomeOf(calls)
  }

  /** Asks each plugin whether an ADD could succeed, up to the first that says no; asks nobody before version 1.1.0. */
  async status(): Promise<ChainOutcome> {
    if (!isAtLeast(this.list.cniVersion, '1.1.0')) return outcomeOf([])
    return await this.#callEach('STATUS', this.list.plugins, {})
  }

  /** Asks each plugin for the versions that it knows. */
  async version(): Promise<ChainOutcome> {
    return await this.#callEach('VERSION', this.list.plugins, {})
  }

  /** Calls the plugins in the order given, up to the first that fails. */
  async #callEach(verb: Verb, plugins: readonly JsonObject[], input: CallInput): Promise<ChainOutcome> {
    const calls: PluginCall[] = []
    for (const plugin of plugins) {
      const call = await this.#call(verb, plugin, input)
      calls.push(call)
      if (call.exitCode !== 0) break
      if (verb !== 'VERSION' && call.json !== undefined)
        throw new Error(`${call.type} ${verb}: wants no output (O6), printed ${call.stdout}`)
    }
    return outcomeOf(calls)
  }

  async #call(verb: Verb, plugin: JsonObject, input: CallInput): Promise<PluginCall> {
    const type = asString(plugin['type'], 'plugins[].type')
    const outcome = await invokePlugin({
      executable: findExecutable(type, this.#options.cniPath),
      env: this.#environment(verb, input.attachment),
      stdin: JSON.stringify(this.#configuration(plugin, input)),
      ...(this.#options.timeoutMs === undefined ? {} : { timeoutMs: this.#options.timeoutMs }),
    })
    return { type, ...outcome }
  }

  #environment(verb: Verb, attachment: RuntimeAttachment | undefined): Readonly<Record<string, string>> {
    return {
      ...(this.#options.env ?? { PATH: process.env['PATH'] ?? '' }),
      CNI_COMMAND: verb,
      CNI_PATH: this.#options.cniPath.join(':'),
      // libcni sets these for GC and STATUS too, to empty texts.
      CNI_CONTAINERID: attachment?.containerId ?? '',
      CNI_NETNS: attachment?.netnsPath ?? '',
      CNI_IFNAME: attachment?.ifName ?? '',
      CNI_ARGS: attachment?.args ?? '',
    }
  }

  #configuration(plugin: JsonObject, { attachment, prevResult, inject }: CallInput): JsonObject {
    const declared = isObject(plugin['capabilities']) ? plugin['capabilities'] : {}
    const given = Object.entries(attachment?.capabilities ?? {}).filter(([name]) => declared[name] === true)
    return {
      ...plugin,
      name: this.list.name,
      cniVersion: this.list.cniVersion,
      ...(prevResult && { prevResult }),
      ...(given.length > 0 && { runtimeConfig: Object.fromEntries(given) }),
      ...inject,
    }
  }
}

interface CallInput {
  readonly attachment?: RuntimeAttachment
  readonly prevResult?: JsonObject
  /** Further keys of the configuration object. */
  readonly inject?: JsonObject
}

function keyOf({ containerId, ifName }: RuntimeAttachment): string {
  return `${containerId} ${ifName}`
}

/** @throws {Error} naming `type` when no folder of `cniPath` has it. */
function findExecutable(type: string, cniPath: readonly string[]): string {
  const found = cniPath.map(folder => join(folder, type)).find(isExecutable)
  if (found === undefined)
    throw new Error(`Cannot find plugin ${JSON.stringify(type)} in CNI_PATH ${cniPath.join(':')}`)
  return found
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function outcomeOf(calls: readonly PluginCall[]): ChainOutcome {
  // GC goes on after a failure: then the chain's outcome is that failure.
  const decisive = calls.find(call => call.exitCode !== 0) ?? calls.at(-1)
  const { exitCode, stdout, stderr, json } = decisive ?? { exitCode: 0, stdout: '', stderr: '' }
  const wallMs = calls.reduce((sum, call) => sum + call.wallMs, 0)
  return { exitCode, stdout, stderr, ...(json && { json }), calls, wallMs }
}

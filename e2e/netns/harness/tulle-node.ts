import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { Ipamd } from './ipamd.ts'
import { type JsonObject, asObject, asObjects, asString } from './json.ts'
import { Netns } from './namespace.ts'
import { CniRuntime, type RuntimeAttachment, newAttachment } from './runtime.ts'
import { snapshotOf } from './snapshot.ts'
import { BIN_FOLDER, RUN_FOLDER } from './tulle.ts'

/** A pool of both families, as in the configuration that comes with ipamd. */
export const DUAL_STACK = ['10.244.0.0/16', 'fd00:10:244::/56'] as const

/** Addresses of the node itself, on its lo: what pods talk to when they talk to the host. */
export const HOST_IPV4 = '192.0.2.1'
export const HOST_IPV6 = '2001:db8::1'

export interface TulleNodeOptions {
  /** Of the one pool; DUAL_STACK when absent. */
  readonly prefixes?: readonly string[]
  /** 1.1.0 when absent. */
  readonly cniVersion?: string
  /** Further keys of our plugin configuration object. */
  readonly plugin?: JsonObject
  /** Replaces the list of plugins. */
  readonly plugins?: readonly JsonObject[]
  /** Folders of CNI_PATH after ours. */
  readonly cniPath?: readonly string[]
  /** Further keys of ipamd's configuration. */
  readonly ipamd?: JsonObject
  /** How long a call of the plugin may take, and ipamd until it is ready or gone: for tests that keep the machine busy. */
  readonly limitMs?: number
  /** Leaves the node as the kernel made it, instead of as the first ADD leaves it. */
  readonly isFresh?: boolean
}

/** A pod that was attached. */
export interface Pod extends AsyncDisposable {
  readonly netns: Netns
  readonly attachment: RuntimeAttachment
  /** What ADD returned. */
  readonly result: JsonObject
  /** Empty when the pool has none of the family. */
  readonly ipv4: string
  readonly ipv6: string
  readonly hostIfName: string
}

/**
 * This process as a node: an ipamd on its default socket, and a runtime with one network.
 *
 * Unless asked for fresh, a pod has come and gone when start() returns. What ADD makes for the node and no DEL takes back
 * (forwarding, the table inet tulle, what ipamd keeps for its block) is there then, so that snapshots before and after a test
 * are equal to the last line.
 */
export class TulleNode implements AsyncDisposable {
  readonly netns = Netns.own()
  readonly runtime: CniRuntime
  readonly folder: string
  readonly #prefixes: readonly string[]
  readonly #ipamdKeys: JsonObject
  readonly #limitMs: number | undefined
  #ipamd: Ipamd | undefined

  private constructor(folder: string, options: TulleNodeOptions) {
    this.folder = folder
    this.#prefixes = options.prefixes ?? DUAL_STACK
    this.#ipamdKeys = options.ipamd ?? {}
    this.#limitMs = options.limitMs
    const own = { type: 'tulle', ...options.plugin, ipam: options.plugin?.['ipam'] ?? { type: 'tulle-ipam' } }
    const conflist = { cniVersion: options.cniVersion ?? '1.1.0', name: 'pods', plugins: options.plugins ?? [own] }
    this.runtime = new CniRuntime({
      conflist,
      cniPath: [BIN_FOLDER, ...(options.cniPath ?? [])],
      ...(options.limitMs === undefined ? {} : { timeoutMs: options.limitMs }),
    })
  }

  static async start(options: TulleNodeOptions = {}): Promise<TulleNode> {
    const node = new TulleNode(await mkdtemp(join(tmpdir(), 'tulle-node-')), options)
    try {
      await node.#addHostAddresses()
      await node.startIpamd()
      if (options.isFresh !== true) await node.#prime()
    } catch (cause) {
      await node[Symbol.asyncDispose]()
      throw cause
    }
    return node
  }

  get ipamd(): Ipamd {
    if (this.#ipamd === undefined) throw new Error('ipamd is not running')
    return this.#ipamd
  }

  /** Starts ipamd on the state that it left; in another network namespace than the node's when one is given. */
  async startIpamd(netns?: Netns): Promise<void> {
    this.#ipamd = await Ipamd.start({
      ...(netns === undefined ? {} : { netns }),
      ...(this.#limitMs === undefined ? {} : { limitMs: this.#limitMs }),
      executable: join(BIN_FOLDER, 'ipamd'),
      configFile: join(this.folder, 'ipamd.json'),
      config: {
        socket: join(RUN_FOLDER, 'ipamd.sock'),
        stateDir: join(this.folder, 'state'),
        pools: [{ name: 'default', prefixes: this.#prefixes, cooldownSeconds: 1 }],
        ...this.#ipamdKeys,
      },
    })
  }

  async stopIpamd(): Promise<void> {
    await this.#ipamd?.stop()
    this.#ipamd = undefined
  }

  /** Makes a namespace and attaches it. @throws {Error} with what the plugin printed, when ADD fails. */
  async attach(netns?: Netns, capabilities?: JsonObject): Promise<Pod> {
    const own = netns ?? (await Netns.create('pod'))
    try {
      const attachment = { ...newAttachment(own), ...(capabilities === undefined ? {} : { capabilities }) }
      const added = await this.runtime.add(attachment)
      if (added.exitCode !== 0 || added.json === undefined) throw new Error(`ADD: ${added.stdout} ${added.stderr}`)
      return podOf(own, attachment, added.json)
    } catch (cause) {
      if (netns === undefined) await own.delete()
      throw cause
    }
  }

  /** Detaches a pod, and deletes its namespace as the runtime does after DEL. @throws {Error} when DEL fails. */
  async detach(pod: Pod): Promise<void> {
    const deleted = await this.runtime.del(pod.attachment)
    if (deleted.exitCode !== 0) throw new Error(`DEL: ${deleted.stdout} ${deleted.stderr}`)
    await pod.netns.delete()
  }

  /** The leases of this node, as ipamd reports them. */
  async leases(): Promise<readonly JsonObject[]> {
    return asObjects((await this.ipamd.get('/v1/leases'))['leases'], 'leases')
  }

  /** All that a plugin could leave behind: network state, files beside the socket, and leases while ipamd runs. */
  async snapshot(): Promise<string> {
    const state = await snapshotOf(this.netns, { folders: [RUN_FOLDER, '/run/netns'] })
    const leases = this.#ipamd === undefined ? [] : await this.leases()
    // Notes of calls that were done without ipamd are for ipamd to count, which it does now and then.
    const lines = state.split('\n').filter(line => !line.includes('/spool/fallback.'))
    return [...lines, '# leases', ...leases.map(lease => JSON.stringify(lease))].join('\n')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopIpamd()
    await rm(this.folder, { recursive: true })
  }

  async #addHostAddresses(): Promise<void> {
    await this.netns.run(['ip', 'link', 'set', 'lo', 'up'])
    await this.netns.run(['ip', 'address', 'replace', `${HOST_IPV4}/32`, 'dev', 'lo'])
    await this.netns.run(['ip', 'address', 'replace', `${HOST_IPV6}/128`, 'dev', 'lo', 'nodad'])
  }

  async #prime(): Promise<void> {
    await using first = await this.attach()
    await this.detach(first)
  }
}

/** Runs `body`, and after it compares the node with what it was before: the leak check of every test. */
export async function leavesNothing(t: Test, node: TulleNode, body: () => Promise<void>): Promise<void> {
  const before = await node.snapshot()
  await body()
  t.equal(await node.snapshot(), before, 'nothing is left')
}

function podOf(netns: Netns, attachment: RuntimeAttachment, result: JsonObject): Pod {
  const addresses = addressesOf(result)
  // Before 0.3.0 a result has no interfaces.
  const host = asObjects(result['interfaces'] ?? [], 'interfaces').find(({ name }) => String(name).startsWith('tul'))
  return {
    netns,
    attachment,
    result,
    ipv4: addresses.find(address => address.includes('.')) ?? '',
    ipv6: addresses.find(address => address.includes(':')) ?? '',
    hostIfName: host === undefined ? '' : asString(host['name'], 'interfaces[].name'),
    [Symbol.asyncDispose]: () => netns.delete(),
  }
}

/** Another network of the same node, served by the same ipamd. */
export function networkOf(name: string, plugin: JsonObject): CniRuntime {
  const own = { type: 'tulle', ...plugin, ipam: { type: 'tulle-ipam' } }
  return new CniRuntime({ conflist: { cniVersion: '1.1.0', name, plugins: [own] }, cniPath: [BIN_FOLDER] })
}

/** The addresses of a result of any version, without prefix lengths. */
export function addressesOf(result: JsonObject | undefined): readonly string[] {
  const old = [result?.['ip4'], result?.['ip6']].filter(ip => ip !== undefined).map(ip => asObject(ip, 'ip4')['ip'])
  const texts = old.length > 0 ? old : asObjects(result?.['ips'], 'ips').map(ip => ip['address'])
  return texts.map(text => asString(text, 'address').replace(/\/.*/, ''))
}

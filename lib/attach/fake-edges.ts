import { FakeKernel, type FaultHook, type KernelStep } from '../kernel/fake-kernel.ts'
import { FakeNetns, observed } from '../kernel/fake-netns.ts'
import { attachmentKeyText, type AttachmentKey } from '../ipam/attachment.ts'
import { IpamProblem, IpamUnavailable } from '../ipam/errors.ts'
import type { Lease } from '../ipam/lease.ts'
import type { SpoolEntry } from '../ipam/spool-entry.ts'
import { parseAddress } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { defaultPrefix, formatPrefix, parsePrefix } from '../net/prefix.ts'
import type { Exposure } from '../plan/exposure.ts'
import type { Operation } from '../plan/operation.ts'
import { renderOperation } from '../plan/render.ts'
import { DeadlineExceeded } from '../time/deadline.ts'
import { NetnsError, type DelegateCall, type Edges, type Ipam, type Leasing } from './edges.ts'
import { handle } from './handle.ts'
import type { Outcome } from './plugin-run.ts'

/** The pod's namespace where a run does not say otherwise. */
export const POD_PATH = '/run/netns/pod'
/** The MTU of the link that the default routes of a FakeNode use. */
export const UPLINK_MTU_BYTES = 1480

/** The blocks that a FakeIpam leases from, and the first address that it gives. */
const POOL = {
  4: { block: '10.244.1.0/24', first: '10.244.1.' },
  6: { block: 'fd00:10:244:1::/64', first: 'fd00:10:244:1::' },
} as const

export type Verb = 'ADD' | 'DEL' | 'CHECK' | 'GC' | 'STATUS' | 'VERSION'

/** One run of the plugin, as a change of what a run usually gets. A key that is undefined is left out. */
export interface FakeRun {
  readonly containerId?: string
  /** '' is a pod whose namespace the runtime does not know any more. */
  readonly netns?: string
  readonly env?: Readonly<Record<string, string | undefined>>
  readonly config?: Readonly<Record<string, unknown>>
}

/** What a run printed, and its document. */
export interface FakeOutcome extends Outcome {
  readonly json: Readonly<Record<string, unknown>> | undefined
}

/**
 * A node in memory: what the engine of the verbs touches, with its kernel, ipamd, another IPAM plugin and the spool.
 * A test changes any of it as it likes, runs verbs, and looks at what is there.
 */
export class FakeNode {
  readonly host: FakeNetns
  readonly pods = new Map<string, FakeNetns>()
  readonly ipam = new FakeIpam()
  readonly delegate = new FakeDelegate()
  readonly spool: { readonly socketPath: string; readonly entry: SpoolEntry }[] = []
  /** What is kept of pods with ports, by attachment. */
  readonly exposures = new Map<string, Exposure>()
  readonly log: string[] = []
  /** Every use of a kernel in the order of use, since the node was made. */
  readonly steps: KernelStep[] = []
  /** What happened, in order: operations as ip(8) text, and calls to whoever leases. */
  readonly events: string[] = []
  /** Attachments whose lock somebody else holds. */
  readonly lockedElsewhere = new Set<string>()
  fault: FaultHook = () => undefined
  readonly #kernels: FakeKernel[] = []
  readonly #locked = new Set<string>()

  constructor(options: { readonly hasIpv6?: boolean } = {}) {
    this.host = new FakeNetns(options)
    this.ipam.onCall = this.delegate.onCall = event => void this.events.push(event)
    this.addPod(POD_PATH)
    const uplink = this.host.addLink({
      name: parseIfName('uplink'),
      mac: parseMac('02:00:00:00:00:99'),
      mtuBytes: UPLINK_MTU_BYTES,
    })
    if (typeof uplink === 'string') throw new Error(uplink)
    uplink.isUp = true
    for (const family of [4, 6] as const)
      this.host.routes.push({ to: defaultPrefix(family), protocol: 3, link: uplink })
  }

  addPod(path: string): FakeNetns {
    const pod = new FakeNetns()
    this.pods.set(path, pod)
    return pod
  }

  /** The pod's namespace ends: its links go, and with them the other ends on the host. */
  removePod(path: string): void {
    const pod = this.pods.get(path)
    for (const link of pod?.links.filter(link => link.name !== 'lo') ?? []) pod?.deleteLink(link)
    this.pods.delete(path)
  }

  get edges(): Edges {
    return {
      openKernel: path => this.#openKernel(path),
      ipam: () => this.ipam,
      delegate: async call => this.delegate.run(call),
      lock: async attachment => this.#lock(attachment),
      spoolRelease: (socketPath, entry) => void this.spool.push({ socketPath, entry }),
      keepExposure: exposure => void this.exposures.set(attachmentKeyText(exposure.attachment), exposure),
      dropExposure: attachment => void this.exposures.delete(attachmentKeyText(attachment)),
      nowUnixMs: () => 1_700_000_000_000,
      log: line => void this.log.push(line),
    }
  }

  /** Runs a verb as a runtime would. */
  async run(command: Verb, { containerId = 'c1', netns = POD_PATH, env, config }: FakeRun = {}): Promise<FakeOutcome> {
    const invocation = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: containerId,
      CNI_NETNS: netns,
      CNI_IFNAME: 'eth0',
      CNI_PATH: '/opt/cni/bin',
      ...env,
    }
    const stdin = { cniVersion: '1.1.0', name: 'net1', type: 'tulle', ipam: { type: 'tulle-ipam' }, ...config }
    const outcome = await handle({ env: invocation, readStdin: () => JSON.stringify(stdin) }, this.edges)
    const json = outcome.stdout === '' ? undefined : (JSON.parse(outcome.stdout) as FakeOutcome['json'])
    return { ...outcome, json }
  }

  /** Kernels that were opened and not disposed of, and locks that were not given back. Always 0 after a run. */
  get openHandles(): number {
    return this.#kernels.filter(kernel => !kernel.isClosed).length + this.#locked.size
  }

  /**
   * All that belongs to attachments: links with everything on them, their settings, routes, leases and the spool. Not in it
   * is what ADD does to the node once and for all: forwarding, the nftables table, lo of a pod being up.
   */
  render(): string {
    const places = [['host', this.host] as const, ...this.pods]
    const leases = [...this.ipam.leases.keys()].map(key => `lease ${key}`)
    const kept = [...this.exposures.keys()].map(key => `exposure ${key}`)
    const elements = [...this.host.sets].flatMap(([name, held]) => [...held.keys()].map(key => `${name} { ${key} }`))
    return [...places.flatMap(([name, netns]) => renderNetns(name, netns)), ...elements, ...kept, ...leases].join('\n')
  }

  #openKernel(path: string | undefined): FakeKernel {
    const pod = path === undefined ? undefined : this.pods.get(path)
    if (path !== undefined && pod === undefined) throw new NetnsError(path, { reason: 'ENOENT' })
    const kernel = new FakeKernel({ host: this.host, pod, fault: step => this.#step(step) })
    this.#kernels.push(kernel)
    return kernel
  }

  #step(step: KernelStep): ReturnType<FaultHook> {
    this.steps.push(step)
    if (typeof step !== 'string') this.events.push(renderOperation(step))
    return this.fault(step)
  }

  #lock(attachment: AttachmentKey): Disposable {
    const key = attachmentKeyText(attachment)
    if (this.#locked.has(key)) throw new Error(`${key} is locked twice: a deadlock`)
    if (this.lockedElsewhere.has(key)) throw new DeadlineExceeded(`waiting for the lock of ${key}`)
    this.#locked.add(key)
    return { [Symbol.dispose]: () => void this.#locked.delete(key) }
  }
}

/** ipamd, as far as a plugin can tell: the same lease for the same attachment, until it is released. */
export class FakeIpam implements Ipam {
  readonly leases = new Map<string, Lease>()
  families: readonly (4 | 6)[] = [4, 6]
  state: 'up' | 'down' | 'exhausted' = 'up'
  /** What is stored does not get to the disk. */
  isDiskBroken = false
  /** Allocates, and then the answer is lost. */
  isAnswerLost = false
  /** How often each attachment was released. */
  readonly released: string[] = []
  onCall: (event: string) => void = () => undefined
  #last = 1

  async allocate({ attachment }: { readonly attachment: AttachmentKey }): Promise<Leasing> {
    this.#answer(`ipamd: allocate ${attachmentKeyText(attachment)}`)
    const whenDurable = async (): Promise<void> => {
      this.onCall('ipamd: durable')
      if (this.isDiskBroken) throw new IpamProblem('store-failed', 'Cannot sync lease store x: EIO')
    }
    const held = this.leases.get(attachmentKeyText(attachment))
    if (held !== undefined) return { lease: held, isNew: false, whenDurable }
    if (this.state === 'exhausted')
      throw new IpamProblem('pool-exhausted', 'pool default: all 253 addresses are leased')
    const host = ++this.#last
    const addresses = this.families.map(family => ({
      address: parseAddress(`${POOL[family].first}${host}`),
      block: parsePrefix(POOL[family].block),
    }))
    const lease: Lease = { attachment, pool: 'default', addresses, leasedAtUnixMs: 1_700_000_000_000 }
    this.leases.set(attachmentKeyText(attachment), lease)
    if (this.isAnswerLost) throw new IpamUnavailable('/run/tulle/ipamd.sock', 'no answer in time')
    return { lease, isNew: true, whenDurable }
  }

  async release({ attachment }: { readonly attachment: AttachmentKey }): Promise<boolean> {
    this.#answer(`ipamd: release ${attachmentKeyText(attachment)}`)
    this.released.push(attachmentKeyText(attachment))
    return this.leases.delete(attachmentKeyText(attachment))
  }

  async collect({ network, valid }: Parameters<Ipam['collect']>[0]): ReturnType<Ipam['collect']> {
    this.#answer(`ipamd: collect ${network} except ${valid.map(({ containerId }) => containerId).join(', ')}`)
    const stale = [...this.leases.values()]
      .map(lease => lease.attachment)
      .filter(
        held =>
          held.network === network &&
          !valid.some(each => each.containerId === held.containerId && each.ifName === held.ifName),
      )
    for (const attachment of stale) this.leases.delete(attachmentKeyText(attachment))
    return { released: stale }
  }

  async find(attachment: AttachmentKey): Promise<Lease | undefined> {
    this.#answer(`ipamd: find ${attachmentKeyText(attachment)}`)
    return this.leases.get(attachmentKeyText(attachment))
  }

  async status(pool: string | undefined): Promise<void> {
    this.#answer(`ipamd: status ${pool ?? '(first pool)'}`)
    if (this.state === 'exhausted')
      throw new IpamProblem('pool-exhausted', 'pool default: all 253 addresses are leased')
  }

  #answer(event: string): void {
    this.onCall(event)
    if (this.state === 'down') throw new IpamUnavailable('/run/tulle/ipamd.sock', 'ECONNREFUSED')
  }
}

/** Another IPAM plugin: it answers ADD with what `result` is, and everything else with nothing. */
export class FakeDelegate {
  readonly calls: DelegateCall[] = []
  result: unknown = {
    cniVersion: '1.1.0',
    ips: [{ address: '10.9.0.7/24', gateway: '10.9.0.1' }],
    routes: [{ dst: '0.0.0.0/0' }],
  }
  /** What a verb fails with. */
  readonly failures = new Map<DelegateCall['command'], Error>()
  onCall: (event: string) => void = () => undefined

  run(call: DelegateCall): string {
    this.calls.push(call)
    this.onCall(`${call.type}: ${call.command}`)
    const failure = this.failures.get(call.command)
    if (failure !== undefined) throw failure
    if (call.command !== 'ADD') return ''
    return typeof this.result === 'string' ? this.result : JSON.stringify(this.result)
  }

  /** The verbs that it was called with, in order. */
  get verbs(): readonly string[] {
    return this.calls.map(({ command }) => command)
  }
}

/** The operations among `steps`. */
export function operationsIn(steps: readonly KernelStep[]): readonly Operation[] {
  return steps.filter(step => typeof step !== 'string')
}

function renderNetns(name: string, netns: FakeNetns): readonly string[] {
  const links = netns.links.flatMap(link => {
    // lo of the pod is up after an ADD, whatever becomes of it.
    if (link.name === 'lo') return []
    const { index: _index, peerIndex: _peerIndex, ...shown } = observed(link)
    const own = [...netns.sysctls]
      .filter(([key]) => key.split('/')[3] === link.name)
      .map(([key, value]) => `${key}=${value}`)
    const text = (value: unknown): string =>
      JSON.stringify(value, (_key, item: unknown) => (typeof item === 'bigint' ? `${item}` : item))
    return [text(shown), ...own, text(link.addresses), text(link.neighbours)]
  })
  const routes = netns.routes.map(
    route => `route ${formatPrefix(route.to)} dev ${route.link?.name ?? 'unreachable'} proto ${route.protocol}`,
  )
  return [...links, ...routes].map(line => `${name}: ${line}`)
}

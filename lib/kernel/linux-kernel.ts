import { closeSync } from 'node:fs'
import type { NativeAddon, NetnsHandle } from '../../native/addon.ts'
import type { Address } from '../net/address.ts'
import type { IfName } from '../net/if-name.ts'
import { isOurGroup, NFT_TABLE, ROUTE_PROTOCOL } from '../plan/marks.ts'
import type { ObservedInterface, ObservedLink, ObservedShaping, OwnRoute } from '../plan/observed.ts'
import {
  placeOf,
  type AddElements,
  type AddVeth,
  type DeleteElements,
  type DeleteLink,
  type ForgetFlows,
  type Operation,
  type Place,
  type Plan,
  type SetSysctl,
} from '../plan/operation.ts'
import { renderOperation } from '../plan/render.ts'
import type { AttachmentKey } from '../ipam/attachment.ts'
import type { Prefix } from '../net/prefix.ts'
import { renderSetContent, type ObservedElement, type SetDefinition } from '../plan/nft-set.ts'
import type { Ruleset } from '../plan/ruleset.ts'
import type { Deadline } from '../time/deadline.ts'
import { KernelError, PlanError, isErrno, type Kernel } from '../plan/kernel.ts'
import { isDoneIn, runScript, type ReadyBatch, type ScriptEdges, type ScriptEnd } from './apply-script.ts'
import { batchesOf, type Batch } from './batches.ts'
import { judgeBatch, type FailedOperation } from './judge-batch.ts'
import type { KernelHost, NetnsIdentity } from './kernel-host.ts'
import { isNativeError } from './native-error.ts'
import { NetlinkError } from './netlink-error.ts'
import {
  NETLINK_NETFILTER,
  NETLINK_ROUTE,
  OWN_NETNS,
  NetlinkSocket,
  type NetlinkReply,
  type NetlinkRequest,
} from './netlink-socket.ts'
import { forgetFlows } from './conntrack.ts'
import { Nftables } from './nftables.ts'
import { encodeOperation, isPlain, linksOf, type LinkAt, type PlainOperation } from './operation-encode.ts'
import * as decode from './rtnetlink-decode.ts'
import * as encode from './rtnetlink-encode.ts'
import type { PairIndexes } from './rtnetlink-encode.ts'
import { decodeRedirect, decodeShaper } from './traffic-control-decode.ts'
import * as trafficControl from './traffic-control-encode.ts'
import { toKernelError } from './to-kernel-error.ts'

const RTPROT_RA = 9
const LOOPBACK = 'lo'
/** In every namespace: the kernel makes it first. */
const LOOPBACK_INDEX = 1
const NO_SUCH_LINK = ['ENODEV', 'ENOENT'] as const
/**
 * What a route look-up answers when nothing leads there: no route, one that refuses (unreachable, prohibit, blackhole), or a
 * family that the kernel runs without.
 */
const NO_ROUTE = ['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL', 'ENODEV', 'EOPNOTSUPP', 'EAFNOSUPPORT'] as const

export interface LinuxKernelOptions {
  /** Where the pod's network namespace is; undefined where there is none any more, or none is needed. */
  readonly podNetnsPath?: string | undefined
  /** 'async' in a daemon, 'sync' in a short-lived executable: see NetlinkSocket. */
  readonly exchange: 'sync' | 'async'
}

/**
 * Opens the running kernel for one attachment.
 *
 * @throws {NativeError} when the pod's namespace cannot be opened: 'ENOENT', or 'ENOTNETNS' when the path is something else.
 */
export function openLinuxKernel(addon: NativeAddon, options: LinuxKernelOptions): Kernel {
  const pod = options.podNetnsPath === undefined ? undefined : addon.openNetns(options.podNetnsPath)
  return new LinuxKernel(addon, pod, options.exchange)
}

/** Opens the running kernel for an attachment whose namespace is open. The kernel closes it when it is disposed. */
export function openLinuxKernelIn(addon: NativeAddon, { pod, host }: HostedKernelOptions): Kernel {
  return new LinuxKernel(addon, pod, 'async', host)
}

/** A kernel of one of many attachments in a daemon. */
export interface HostedKernelOptions {
  readonly pod: NetnsHandle | undefined
  readonly host: KernelHost
}

/** Sockets in the node's namespace, by what they are for, with their protocols. */
const SHARED_SOCKETS: ReadonlyMap<string, number> = new Map([
  ['host', NETLINK_ROUTE],
  ['netfilter', NETLINK_NETFILTER],
])

/** One look at the kernel. */
interface Looking {
  readonly by: Deadline
  /** For the message of a failure. */
  readonly doing: string
  readonly name?: IfName
  /** Refusals that say that it is not there. */
  readonly absent?: readonly string[]
}

interface Progress {
  readonly done: Operation[]
  readonly by: Deadline
}

class LinuxKernel implements Kernel {
  readonly #addon: NativeAddon
  readonly #pod: NetnsHandle | undefined
  readonly #exchange: 'sync' | 'async'
  readonly #host: KernelHost | undefined
  readonly #sockets = new Map<string, NetlinkSocket>()
  readonly #indexes = new Map<string, number>()
  #disposed = false

  constructor(addon: NativeAddon, pod: NetnsHandle | undefined, exchange: 'sync' | 'async', host?: KernelHost) {
    this.#addon = addon
    this.#host = host
    this.#pod = pod
    this.#exchange = exchange
  }

  get hasPod(): boolean {
    return this.#pod !== undefined
  }

  get podIsHost(): boolean {
    if (this.#pod === undefined) return false
    const own = this.#host?.ownNetns ?? this.#openOwnNetns()
    return own.inode === this.#pod.inode && own.device === this.#pod.device
  }

  #openOwnNetns(): NetnsIdentity {
    const { fd, device, inode } = this.#addon.openOwnNetns()
    closeSync(fd)
    return { device, inode }
  }

  async apply(operation: Operation, by: Deadline): Promise<void> {
    // Writing a sysctl asks no socket, which would refuse to begin.
    by.throwIfPast(renderOperation(operation))
    if (operation.do === 'set-sysctl') return this.#writeSysctls([operation])
    if (operation.do === 'forget-flows') return await this.#forgetFlows(operation, by)
    if (operation.do === 'add-elements' || operation.do === 'delete-elements')
      return await this.#changeElements(operation, by)
    try {
      if (operation.do === 'add-veth') await this.#addVeth(operation, by)
      else if (operation.do === 'delete-link') await this.#deleteLink(operation, by)
      else await this.#route(placeOf(operation)).transaction(await this.#encode(operation, by), by)
    } catch (cause) {
      // The link may have gone with its peer, and its name may soon be another link's.
      this.#indexes.clear()
      throw toKernelError(cause, operation)
    }
    // A veth takes its other end with it, which may be known here too.
    if (operation.do === 'delete-link') this.#indexes.clear()
  }

  async applyAll(plan: Plan, by: Deadline): Promise<void> {
    const done: Operation[] = []
    const left = [...batchesOf(plan)]
    for (let [first] = left; first !== undefined; [first] = left) {
      const script = this.#scriptOf(left)
      const failed =
        script.length < 2 ? await this.#applyBatch(first, { done, by }) : await this.#applyScript(script, { done, by })
      if (failed !== undefined) throw new PlanError(failed.operation, failed.cause, done)
      left.splice(0, Math.max(1, script.length))
    }
  }

  /** As many of the batches, from the first on, as need no look-up. */
  #scriptOf(batches: readonly Batch[]): readonly ReadyBatch[] {
    const script: ReadyBatch[] = []
    const host = this.#host
    if (host === undefined || this.#pod === undefined || this.#disposed) return script
    for (const batch of batches) {
      const ready =
        script.length === 0 && batch[0].do === 'add-veth' ? this.#readyVeth(batch[0], host) : this.#ready(batch)
      if (ready === undefined) break
      script.push(ready)
    }
    return script
  }

  /** A pair whose indexes are chosen, so that what comes after it is known too. */
  #readyVeth(operation: AddVeth, host: KernelHost): ReadyBatch {
    const indexes = host.nextIndexes()
    this.#know(operation, indexes)
    return { batch: [operation], at: 'host', encoded: [[encode.addVeth(operation, this.#podFd(), indexes)]] }
  }

  #know(operation: AddVeth, indexes: PairIndexes): void {
    this.#indexes.set(`host:${operation.hostIfName}`, indexes.host)
    this.#indexes.set(`pod:${operation.podIfName}`, indexes.pod)
  }

  #ready(batch: Batch): ReadyBatch | undefined {
    const at = placeOf(batch[0])
    const settings = batch.filter(operation => operation.do === 'set-sysctl')
    if (settings.length > 0) return { batch, at, settings: settings.map(({ key, value }) => [key, value]) }
    const [first] = batch
    if (first.do === 'add-elements' || first.do === 'delete-elements') return { batch, at: 'host', elements: first }
    const encoded: (readonly NetlinkRequest[])[] = []
    for (const operation of batch) {
      if (!isPlain(operation) || linksOf(operation).some(link => this.#knownIndexOf(link) === undefined))
        return undefined
      encoded.push(this.#encodeKnown(operation))
    }
    return { batch, at, encoded }
  }

  /** Adds to `done` as #applyBatch() does. */
  async #applyScript(script: readonly ReadyBatch[], { done, by }: Progress): Promise<FailedOperation | undefined> {
    const edges: ScriptEdges = {
      addon: this.#addon,
      socketOf: name => (name === 'nftables' ? this.#nftablesSocket() : this.#route(name)),
      netnsFdAt: at => this.#netnsFd(at),
    }
    const run = (): Promise<ScriptEnd> => runScript(script, edges, by)
    const changes = script.find(ready => 'elements' in ready)
    const isDone = (ended: ScriptEnd) => isDoneIn(ended, changes?.batch[0])
    const end = await (changes === undefined ? run() : (this.#host?.rulesets.change(run, isDone) ?? run()))
    done.push(...end.done)
    if (end.failed === undefined) return undefined
    // The link may have gone with its peer, and its name may soon be another link's.
    this.#indexes.clear()
    const { operation, cause } = end.failed
    if (operation.do !== 'add-veth' || !isTaken(cause)) return end.failed
    // The numbers or the names: without numbers it is only the names.
    return await this.#applyBatches([[operation], ...script.slice(1).map(({ batch }) => batch)], { done, by })
  }

  async #applyBatches(batches: readonly Batch[], progress: Progress): Promise<FailedOperation | undefined> {
    for (const batch of batches) {
      const failed = await this.#applyBatch(batch, progress)
      if (failed !== undefined) return failed
    }
    return undefined
  }

  /** Adds to `done` what was done, or may have been. @returns the first operation that failed, with its failure. */
  async #applyBatch(batch: Batch, { done, by }: Progress): Promise<FailedOperation | undefined> {
    const [first] = batch
    try {
      by.throwIfPast('wiring the pod')
      if (first.do === 'set-sysctl') this.#writeSysctls(batch.filter(operation => operation.do === 'set-sysctl'))
      else if (batch.length > 1) return await this.#sendBatch(batch, { done, by })
      else await this.apply(first, by)
      done.push(...batch)
      return undefined
    } catch (cause) {
      const refused = cause instanceof KernelError ? batch.indexOf(cause.operation ?? first) : 0
      const mayExist = cause instanceof KernelError && cause.outcomeUnknown ? refused + 1 : refused
      done.push(...batch.slice(0, Math.max(0, mayExist)))
      return { operation: batch[refused] ?? first, cause }
    }
  }

  async #sendBatch(batch: Batch, { done, by }: Progress): Promise<FailedOperation | undefined> {
    const encoded: (readonly NetlinkRequest[])[] = []
    for (const operation of batch) {
      try {
        if (!isPlain(operation)) throw new TypeError(`${operation.do} goes alone`)
        encoded.push(await this.#encode(operation, by))
      } catch (cause) {
        // Nothing of the batch was sent.
        return { operation, cause: toKernelError(cause, operation) }
      }
    }
    let outcomes: readonly (NetlinkError | undefined)[]
    try {
      outcomes = await this.#route(placeOf(batch[0])).outcomes(encoded.flat(), by)
    } catch (cause) {
      if (cause instanceof NetlinkError && cause.outcomeUnknown) done.push(...batch)
      return { operation: batch[0], cause: toKernelError(cause, batch[0]) }
    }
    const failed = judgeBatch({ batch, encoded }, outcomes, done)
    // The link may have gone with its peer, and its name may soon be another link's.
    if (failed !== undefined) this.#indexes.clear()
    return failed
  }

  async #addVeth(operation: AddVeth, by: Deadline): Promise<void> {
    await this.#route('host').transaction([encode.addVeth(operation, this.#podFd())], by)
  }

  async #deleteLink(operation: DeleteLink, by: Deadline): Promise<void> {
    const index = await this.#indexOf(operation.at, operation.link, by)
    if (this.#host !== undefined && operation.at === 'host') await this.#host.removeLink(index, by)
    else await this.#route(operation.at).transaction([encode.deleteLink(index)], by)
  }

  async #encode(operation: PlainOperation, by: Deadline): Promise<readonly NetlinkRequest[]> {
    for (const { at, name } of linksOf(operation)) await this.#indexOf(at, name, by)
    return this.#encodeKnown(operation)
  }

  #encodeKnown(operation: PlainOperation): readonly NetlinkRequest[] {
    return encodeOperation(operation, link => {
      const index = this.#knownIndexOf(link)
      if (index === undefined) throw new KernelError(`ip link show dev ${link.name}`, 'ENODEV')
      return index
    })
  }

  async observeInterface(at: Place, name: IfName, by: Deadline): Promise<ObservedInterface | undefined> {
    const link = await this.observeLink(at, name, by)
    if (link === undefined) return undefined
    try {
      return await this.#observeWhatHangsOn(at, link, by)
    } catch (error) {
      // It went while it was looked at: the kernel refuses a filter that names no link.
      if (isErrno(error, 'ENODEV')) return undefined
      throw error
    }
  }

  async #observeWhatHangsOn(at: Place, link: ObservedLink, by: Deadline): Promise<ObservedInterface> {
    const addresses = await this.#dump(at, encode.dumpAddresses(link.index), by)
    const neighbours = await this.#dump(at, encode.dumpNeighbours(link.index), by)
    const routes = [
      ...(await this.#dump(at, encode.dumpRoutes(4, { oif: link.index }), by)),
      ...(await this.#dump(at, encode.dumpRoutes(6, { oif: link.index }), by)),
    ]
    const forwarding = link.port?.isLocked ? await this.#dump(at, encode.dumpForwarding(link.index), by) : undefined
    return {
      link,
      ...(forwarding === undefined ? {} : { allowedMacs: forwarding.map(decode.decodeAllowedMac).filter(isPresent) }),
      // A family that does not know the filter reports the addresses of all links.
      addresses: addresses
        .filter(reply => decode.addressLinkIndex(reply) === link.index)
        .map(decode.decodeAddress)
        .filter(isPresent),
      routes: routes.flatMap(reply => decode.decodeRoutes(reply, link.index)),
      neighbours: neighbours.map(decode.decodeNeighbour).filter(isPresent),
    }
  }

  async observeLink(at: Place, name: IfName, by: Deadline): Promise<ObservedLink | undefined> {
    const reply = await this.#get(at, encode.getLink({ name }), {
      by,
      doing: 'ip link show dev',
      name,
      absent: NO_SUCH_LINK,
    })
    if (reply === undefined) {
      this.#indexes.delete(`${at}:${name}`)
      return undefined
    }
    const link = decode.decodeLink(reply)
    // What is done to it after this look is done to the very link that was seen.
    this.#indexes.set(`${at}:${name}`, link.index)
    return link
  }

  async observeOwnLinks(by: Deadline): Promise<readonly ObservedLink[]> {
    return await this.#ownLinksOf('veth', by)
  }

  async observeOwnIfbs(by: Deadline): Promise<readonly ObservedLink[]> {
    return await this.#ownLinksOf('ifb', by)
  }

  async #ownLinksOf(kind: 'veth' | 'ifb', by: Deadline): Promise<readonly ObservedLink[]> {
    const replies = await this.#dump('host', encode.dumpLinksOf(kind), by)
    // A kernel that has not loaded the driver of that kind does not filter.
    return replies.map(decode.decodeLink).filter(link => isOurGroup(link.group) && link.kind === kind)
  }

  async observeShaping(name: IfName, by: Deadline): Promise<ObservedShaping> {
    const link = await this.observeLink('host', name, by)
    if (link === undefined) return {}
    const { index } = link
    try {
      const root = await this.#get('host', trafficControl.getRootQdisc(index), {
        by,
        doing: 'tc qdisc show root dev',
        name,
      })
      const shaper = root && decodeShaper(root)
      const filters = await this.#dump('host', trafficControl.dumpIngressFilters(index), by)
      const redirectsTo = filters.map(decodeRedirect).find(isPresent)
      return {
        ...(shaper === undefined ? {} : { shaper }),
        ...(redirectsTo === undefined ? {} : { redirectsTo }),
      }
    } catch (error) {
      // It went while it was looked at.
      if (isErrno(error, ...NO_SUCH_LINK)) return {}
      throw error
    }
  }

  async observeOwnRoutes(by: Deadline): Promise<readonly OwnRoute[]> {
    const filter = { protocol: ROUTE_PROTOCOL, type: 'any' } as const
    const replies = [
      ...(await this.#dump('host', encode.dumpRoutes(4, filter), by)),
      ...(await this.#dump('host', encode.dumpRoutes(6, filter), by)),
    ]
    return replies.map(decode.decodeOwnRoute).filter(isPresent)
  }

  async observeLinkTowards(address: Address, by: Deadline): Promise<ObservedLink | undefined> {
    const route = await this.#get('host', encode.lookUpRoute(address), { by, doing: 'ip route get', absent: NO_ROUTE })
    const index = route && decode.routeLinkIndexes(route)[0]
    return index === undefined ? undefined : await this.#linkOfIndex(index, by)
  }

  async observeRouterAdvertisementLinks(by: Deadline): Promise<readonly ObservedLink[]> {
    const routes = await this.#dump('host', encode.dumpRoutes(6, { protocol: RTPROT_RA }), by)
    const indexes = new Set(routes.flatMap(decode.routeLinkIndexes))
    const learnt = [...indexes].filter(index =>
      routes.some(reply => decode.decodeRoutes(reply, index).some(({ protocol }) => protocol === RTPROT_RA)),
    )
    const links: ObservedLink[] = []
    for (const index of learnt) {
      const link = await this.#linkOfIndex(index, by)
      if (link !== undefined) links.push(link)
    }
    return links
  }

  /** Undefined when the link has gone since its index was read. */
  async #linkOfIndex(index: number, by: Deadline): Promise<ObservedLink | undefined> {
    const doing = `ip link show (index ${index})`
    const reply = await this.#get('host', encode.getLink({ index }), { by, doing, absent: NO_SUCH_LINK })
    return reply && decode.decodeLink(reply)
  }

  readSysctl(at: Place, key: string): string | undefined {
    try {
      return this.#addon.readSysctl(this.#netnsFd(at), key)
    } catch (cause) {
      if (isNativeError(cause) && cause.code === 'ENOENT') return undefined
      throw toKernelError(cause, `sysctl ${key}`)
    }
  }

  /** Of one place. The failure is that of the first that was refused; those before it were written. */
  #writeSysctls(operations: readonly SetSysctl[]): void {
    const [first] = operations
    if (first === undefined) return
    try {
      this.#addon.writeSysctls(
        this.#netnsFd(first.at),
        operations.map(({ key, value }) => [key, value]),
      )
    } catch (cause) {
      const refused = isNativeError(cause) ? operations[cause.index ?? 0] : undefined
      throw toKernelError(cause, refused ?? first)
    }
  }

  async #forgetFlows(operation: ForgetFlows, by: Deadline): Promise<void> {
    const isLocal = async (address: Address): Promise<boolean> =>
      (await this.observeLinkTowards(address, by))?.name === LOOPBACK
    try {
      const socket = this.#socket('netfilter', OWN_NETNS, NETLINK_NETFILTER)
      for (const port of operation.ports) await forgetFlows(socket, port, { isLocal, by })
    } catch (cause) {
      throw toKernelError(cause, operation)
    }
  }

  hasRuleset(ruleset: Ruleset, by: Deadline): Promise<boolean> {
    const compare = (table: Nftables): Promise<boolean> => table.hasRuleset(ruleset, by)
    const look = (table: Nftables) => ({ generation: () => table.generation(by), compare: () => compare(table) })
    return this.#nftables(table => this.#host?.rulesets.has(ruleset, look(table)) ?? compare(table), 'nft list ruleset')
  }

  async replaceRuleset(ruleset: Ruleset, by: Deadline): Promise<void> {
    try {
      await this.#nftables(table => table.replaceRuleset(ruleset, by), 'nft -f -')
    } finally {
      this.#host?.rulesets.forget()
    }
  }

  #changeElements(operation: AddElements | DeleteElements, by: Deadline): Promise<void> {
    return this.#nftables(table => {
      const change = (): Promise<void> => table.changeElements(operation, by)
      return this.#host?.rulesets.change(change) ?? change()
    }, operation)
  }

  observeNftGeneration(by: Deadline): Promise<number> {
    return this.#nftables(table => table.generation(by), 'nft monitor')
  }

  observeElements(of: AttachmentKey | 'all', by: Deadline): Promise<readonly ObservedElement[]> {
    return this.#nftables(table => table.elementsOf(of, by), `nft list table inet ${NFT_TABLE}`)
  }

  observeSets(sets: readonly SetDefinition[], by: Deadline): Promise<readonly ObservedElement[]> {
    return this.#nftables(table => table.elementsIn(sets, by), `nft list table inet ${NFT_TABLE}`)
  }

  ensureSetContent(set: SetDefinition, prefixes: readonly Prefix[], by: Deadline): Promise<boolean> {
    return this.#nftables(table => table.ensureContent(set, prefixes, by), renderSetContent(set, prefixes))
  }

  [Symbol.dispose](): void {
    // A second close would be that of a descriptor which is somebody else's by then.
    if (this.#disposed) return
    this.#disposed = true
    for (const [key, socket] of this.#sockets) {
      const protocol = SHARED_SOCKETS.get(key)
      if (this.#host !== undefined && protocol !== undefined) this.#host.giveBack(protocol, socket)
      else socket.close()
    }
    this.#sockets.clear()
    if (this.#pod !== undefined) closeSync(this.#pod.fd)
  }

  async #get(at: Place, request: NetlinkRequest, how: Looking): Promise<NetlinkReply | undefined> {
    try {
      return await this.#route(at).get(request, how.by, how.absent)
    } catch (cause) {
      throw toKernelError(cause, how.name === undefined ? how.doing : `${how.doing} ${how.name}`)
    }
  }

  async #dump(at: Place, request: NetlinkRequest, by: Deadline): Promise<readonly NetlinkReply[]> {
    try {
      return await this.#route(at).dump(request, by)
    } catch (cause) {
      throw toKernelError(cause, `reading network state at ${at}`)
    }
  }

  async #nftables<T>(use: (table: Nftables) => Promise<T>, doing: Operation | string): Promise<T> {
    try {
      return await use(new Nftables(this.#nftablesSocket(), this.#host?.nftReader))
    } catch (cause) {
      throw toKernelError(cause, doing)
    }
  }

  /** Interface indexes do not change while a link lives, so one look-up for each link is enough. */
  async #indexOf(at: Place, name: IfName, by: Deadline): Promise<number> {
    const known = this.#knownIndexOf({ at, name })
    if (known !== undefined) return known
    const reply = await this.#route(at).get(encode.getLink({ name }), by)
    if (reply === undefined) throw new KernelError(`ip link show dev ${name}`, 'ENODEV')
    const { index } = decode.decodeLink(reply)
    this.#indexes.set(`${at}:${name}`, index)
    return index
  }

  #knownIndexOf({ at, name }: LinkAt): number | undefined {
    return name === LOOPBACK ? LOOPBACK_INDEX : this.#indexes.get(`${at}:${name}`)
  }

  #route(at: Place): NetlinkSocket {
    return this.#socket(at, this.#netnsFd(at), NETLINK_ROUTE)
  }

  #nftablesSocket(): NetlinkSocket {
    return this.#socket('netfilter', OWN_NETNS, NETLINK_NETFILTER)
  }

  #socket(key: string, netnsFd: number, protocol: number): NetlinkSocket {
    if (this.#disposed) throw new KernelError('opening a netlink socket: this kernel was disposed', 'EBADF')
    const open = this.#sockets.get(key)
    if (open !== undefined) return open
    const isShared = this.#host !== undefined && SHARED_SOCKETS.has(key)
    const socket = isShared
      ? this.#host.borrow(protocol)
      : new NetlinkSocket(this.#addon, {
          netnsFd,
          protocol,
          exchange: this.#exchange,
          opensLater: this.#exchange === 'async' && netnsFd !== OWN_NETNS,
        })
    this.#sockets.set(key, socket)
    return socket
  }

  #netnsFd(at: Place): number {
    return at === 'host' ? OWN_NETNS : this.#podFd()
  }

  #podFd(): number {
    if (this.#disposed) throw new KernelError("opening the pod's network namespace: this kernel was disposed", 'EBADF')
    if (this.#pod === undefined) throw new KernelError("opening the pod's network namespace", 'ENOENT')
    return this.#pod.fd
  }
}

function isTaken(cause: unknown): boolean {
  return isErrno(cause, 'EEXIST', 'EBUSY')
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined
}

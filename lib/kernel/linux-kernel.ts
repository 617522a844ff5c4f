import { closeSync } from 'node:fs'
import type { NativeAddon, NetnsHandle } from '../../native/addon.ts'
import type { Address } from '../net/address.ts'
import type { IfName } from '../net/if-name.ts'
import { isOurGroup, NFT_TABLE, ROUTE_PROTOCOL } from '../plan/marks.ts'
import type { ObservedInterface, ObservedLink, ObservedShaping, OwnRoute } from '../plan/observed.ts'
import {
  placeOf,
  type AddVeth,
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
import { batchesOf, type Batch } from './batches.ts'
import type { KernelHost } from './kernel-host.ts'
import { isNativeError } from './native-error.ts'
import { NetlinkError } from './netlink-error.ts'
import { NetlinkSocket, type NetlinkReply, type NetlinkRequest } from './netlink-socket.ts'
import { forgetFlows } from './conntrack.ts'
import { Nftables } from './nftables.ts'
import * as decode from './rtnetlink-decode.ts'
import * as encode from './rtnetlink-encode.ts'
import { decodeRedirect, decodeShaper } from './traffic-control-decode.ts'
import * as trafficControl from './traffic-control-encode.ts'
import { toKernelError } from './to-kernel-error.ts'

const NETLINK_ROUTE = 0
const NETLINK_NETFILTER = 12
/** Means "the namespace of this process" to the addon, which then needs no thread to enter it. */
const OWN_NETNS = -1
const RTPROT_RA = 9
const LOOPBACK = 'lo'
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
  ['nftables', NETLINK_NETFILTER],
])

/** What is one or more messages to rtnetlink, and nothing else. */
type PlainOperation = Exclude<Operation, { do: (typeof OTHERS)[number] }>

const OTHERS = ['set-sysctl', 'add-veth', 'delete-link', 'add-elements', 'delete-elements', 'forget-flows'] as const

function isPlain(operation: Operation): operation is PlainOperation {
  return !OTHERS.some(other => other === operation.do)
}

interface Progress {
  readonly done: Operation[]
  readonly by: Deadline
}

interface FailedOperation {
  readonly operation: Operation
  readonly cause: unknown
}

interface Numbering {
  readonly host: KernelHost
  readonly socket: NetlinkSocket
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
    const own = this.#addon.openOwnNetns()
    closeSync(own.fd)
    return own.inode === this.#pod.inode && own.device === this.#pod.device
  }

  async apply(operation: Operation, by: Deadline): Promise<void> {
    // Writing a sysctl asks no socket, which would refuse to begin.
    by.throwIfPast(renderOperation(operation))
    if (operation.do === 'set-sysctl') return this.#writeSysctls([operation])
    if (operation.do === 'forget-flows') return await this.#forgetFlows(operation, by)
    if (operation.do === 'add-elements' || operation.do === 'delete-elements')
      return await this.#nftables(table => table.changeElements(operation, by), operation)
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
    for (const batch of batchesOf(plan)) {
      const failed = await this.#applyBatch(batch, { done, by })
      if (failed !== undefined) throw new PlanError(failed.operation, failed.cause, done)
    }
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

  /** The kernel goes on after a refusal: what was done is what was not refused. */
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
    let failed: FailedOperation | undefined
    let at = 0
    for (const [index, operation] of batch.entries()) {
      const own = outcomes.slice(at, (at += encoded[index]?.length ?? 0))
      const refusal = own.find(outcome => outcome !== undefined)
      if (refusal === undefined || refusal.outcomeUnknown) done.push(operation)
      if (refusal !== undefined) failed ??= { operation, cause: toKernelError(refusal, operation) }
    }
    // The link may have gone with its peer, and its name may soon be another link's.
    if (failed !== undefined) this.#indexes.clear()
    return failed
  }

  async #addVeth(operation: AddVeth, by: Deadline): Promise<void> {
    const socket = this.#route('host')
    if (this.#host !== undefined && (await this.#addNumberedVeth(operation, { host: this.#host, socket, by }))) return
    await socket.transaction([encode.addVeth(operation, this.#podFd())], by)
  }

  /** Makes a pair whose indexes are known, which saves looking them up. @returns false when they are taken, or the names are. */
  async #addNumberedVeth(operation: AddVeth, { host, socket, by }: Numbering): Promise<boolean> {
    const indexes = host.nextIndexes()
    try {
      await socket.transaction([encode.addVeth(operation, this.#podFd(), indexes)], by)
    } catch (cause) {
      if (cause instanceof NetlinkError && ['EEXIST', 'EBUSY'].includes(cause.code)) return false
      throw cause
    }
    this.#indexes.set(`host:${operation.hostIfName}`, indexes.host)
    this.#indexes.set(`pod:${operation.podIfName}`, indexes.pod)
    return true
  }

  async #deleteLink(operation: DeleteLink, by: Deadline): Promise<void> {
    const index = await this.#indexOf(operation.at, operation.link, by)
    if (this.#host !== undefined && operation.at === 'host') await this.#host.removeLink(index, by)
    else await this.#route(operation.at).transaction([encode.deleteLink(index)], by)
  }

  async #encode(operation: PlainOperation, by: Deadline): Promise<readonly NetlinkRequest[]> {
    if (operation.do === 'add-unreachable') return [encode.changeUnreachable('add', operation.block)]
    if (operation.do === 'delete-unreachable') return [encode.changeUnreachable('delete', operation.block)]
    if (operation.do === 'add-bridge') return [encode.addBridge(operation)]
    if (operation.do === 'add-ifb') return [encode.addIfb(operation)]
    const index = await this.#indexOf(operation.at, operation.link, by)
    switch (operation.do) {
      case 'add-bridge-port':
        return [encode.addBridgePort(index, await this.#indexOf('host', operation.bridge, by))]
      case 'add-shaper':
        return [trafficControl.addShaper(operation, index)]
      case 'redirect-ingress':
        return trafficControl.redirectIngress(index, await this.#indexOf('host', operation.to, by))
      case 'add-forwarding':
        return [encode.addForwarding(operation, index)]
      case 'set-bridge-port':
        return [encode.setBridgePort(operation, index)]
      case 'set-link':
        // Looking at a link makes the kernel act on a change of its carrier at once (Linux 6.8 and newer). The end of a veth
        // pair that comes up first drops what is sent through it until then, which takes milliseconds.
        return [encode.setLink(operation, index), encode.getLink({ index })]
      case 'disable-link-local':
        return [encode.disableLinkLocal(index)]
      case 'add-address':
      case 'delete-address':
        return [encode.changeAddress(operation, index)]
      case 'set-neighbour':
        return [encode.setNeighbour(operation, index)]
      case 'delete-neighbour':
        return [encode.deleteNeighbour(operation, index)]
      case 'add-route':
      case 'delete-route':
        return [encode.changeRoute(operation, index)]
    }
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
    try {
      const reply = await this.#get(at, encode.getLink({ name }), by, `ip link show dev ${name}`)
      return reply && decode.decodeLink(reply)
    } catch (error) {
      if (isErrno(error, ...NO_SUCH_LINK) && (at === 'host' || this.hasPod)) return undefined
      throw error
    }
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
      const root = await this.#get('host', trafficControl.getRootQdisc(index), by, `tc qdisc show dev ${name} root`)
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
    try {
      const route = await this.#get('host', encode.lookUpRoute(address), by, 'ip route get')
      const index = route && decode.routeLinkIndexes(route)[0]
      return index === undefined ? undefined : await this.#linkOfIndex(index, by)
    } catch (error) {
      if (isErrno(error, ...NO_ROUTE)) return undefined
      throw error
    }
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
    try {
      const reply = await this.#get('host', encode.getLink({ index }), by, `ip link show (index ${index})`)
      return reply && decode.decodeLink(reply)
    } catch (error) {
      if (isErrno(error, ...NO_SUCH_LINK)) return undefined
      throw error
    }
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
    return this.#nftables(table => table.hasRuleset(ruleset, by), 'nft list ruleset')
  }

  replaceRuleset(ruleset: Ruleset, by: Deadline): Promise<void> {
    return this.#nftables(table => table.replaceRuleset(ruleset, by), 'nft -f -')
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

  async #get(at: Place, request: NetlinkRequest, by: Deadline, doing: string): Promise<NetlinkReply | undefined> {
    try {
      return await this.#route(at).get(request, by)
    } catch (cause) {
      throw toKernelError(cause, doing)
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
      return await use(new Nftables(this.#socket('netfilter', OWN_NETNS, NETLINK_NETFILTER)))
    } catch (cause) {
      throw toKernelError(cause, doing)
    }
  }

  /** Interface indexes do not change while a link lives, so one look-up for each link is enough. */
  async #indexOf(at: Place, name: IfName, by: Deadline): Promise<number> {
    const key = `${at}:${name}`
    const known = this.#indexes.get(key)
    if (known !== undefined) return known
    const reply = await this.#route(at).get(encode.getLink({ name }), by)
    if (reply === undefined) throw new KernelError(`ip link show dev ${name}`, 'ENODEV')
    const { index } = decode.decodeLink(reply)
    this.#indexes.set(key, index)
    return index
  }

  #route(at: Place): NetlinkSocket {
    return this.#socket(at, this.#netnsFd(at), NETLINK_ROUTE)
  }

  #socket(key: string, netnsFd: number, protocol: number): NetlinkSocket {
    if (this.#disposed) throw new KernelError('opening a netlink socket: this kernel was disposed', 'EBADF')
    const open = this.#sockets.get(key)
    if (open !== undefined) return open
    const isShared = this.#host !== undefined && SHARED_SOCKETS.has(key)
    const socket = isShared
      ? this.#host.borrow(protocol)
      : new NetlinkSocket(this.#addon, { netnsFd, protocol, exchange: this.#exchange })
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

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined
}

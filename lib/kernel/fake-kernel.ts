import { equalAttachments, type AttachmentKey } from '../ipam/attachment.ts'
import type { Address } from '../net/address.ts'
import type { IfName } from '../net/if-name.ts'
import { parseMac } from '../net/mac.ts'
import { formatPrefix, type Prefix } from '../net/prefix.ts'
import { KernelError, PlanError, type Kernel } from '../plan/kernel.ts'
import { isOurGroup, LINK_GROUP, ROUTE_PROTOCOL } from '../plan/marks.ts'
import type { ObservedInterface, ObservedLink, ObservedShaping, OwnRoute } from '../plan/observed.ts'
import { renderSetContent, type ObservedElement, type SetDefinition } from '../plan/nft-set.ts'
import type {
  AddBridge,
  AddIfb,
  AddRoute,
  AddVeth,
  DeleteRoute,
  Operation,
  Place,
  Plan,
  SetBridgePort,
} from '../plan/operation.ts'
import { ruleComment, type Ruleset } from '../plan/ruleset.ts'
import type { Deadline } from '../time/deadline.ts'
import { observed, type FakeLink, type FakeNetns, type FakeRoute } from './fake-netns.ts'

const RTPROT_BOOT = 3
const RTPROT_RA = 9
/** The kernel makes one up. */
const IFB_MAC = parseMac('02:00:00:00:00:0f')

/** One use of a FakeKernel: an operation, or the name of the method that reads or writes something else. */
export type KernelStep = Operation | Exclude<keyof Kernel, 'apply' | 'applyAll' | 'hasPod' | 'podIsHost' | symbol>

/** What goes wrong at a step. */
export interface KernelFault {
  readonly errno: string
  /** 'refused': nothing was done. 'answer lost': it was done, and nobody saw the answer. */
  readonly how: 'refused' | 'answer lost'
}

/** Asked before each step: what goes wrong with it, if anything. */
export type FaultHook = (step: KernelStep) => KernelFault | undefined

/** What a FakeKernel looks at. Several may look at one namespace: the host's, say. */
export interface FakeKernelOptions {
  readonly host: FakeNetns
  readonly pod?: FakeNetns | undefined
  readonly fault?: FaultHook | undefined
}

/** The kernel in memory, under the same contract as the real one: see kernel-contract.ts. */
export class FakeKernel implements Kernel {
  readonly hasPod: boolean
  readonly podIsHost: boolean
  /** True once it was disposed of: whoever uses it after that has a bug. */
  isClosed = false
  readonly #host: FakeNetns
  readonly #pod: FakeNetns | undefined
  readonly #fault: FaultHook

  constructor({ host, pod, fault }: FakeKernelOptions) {
    this.#host = host
    this.#pod = pod
    this.#fault = fault ?? (() => undefined)
    this.hasPod = pod !== undefined
    this.podIsHost = pod === host
  }

  async apply(operation: Operation, by: Deadline): Promise<void> {
    this.#step(operation, by, () => {
      const errno = this.#perform(operation)
      if (errno !== undefined) throw new KernelError(operation, errno)
    })
  }

  async applyAll(plan: Plan, by: Deadline): Promise<void> {
    for (const [index, operation] of plan.entries()) {
      try {
        by.throwIfPast('wiring the pod')
        await this.apply(operation, by)
      } catch (cause) {
        // One whose answer was not seen may have happened; one that was refused made nothing, and what exists is not ours.
        const mayExist = cause instanceof KernelError && cause.outcomeUnknown ? index + 1 : index
        throw new PlanError(operation, cause, plan.slice(0, mayExist))
      }
    }
  }

  async observeInterface(at: Place, name: IfName, by: Deadline): Promise<ObservedInterface | undefined> {
    return this.#step('observeInterface', by, () => {
      const netns = this.#at(at)
      const link = netns.link(name)
      if (link === undefined) return undefined
      const { addresses, neighbours } = link
      return {
        link: observed(link),
        addresses: [...addresses],
        routes: netns.routesOf(link),
        neighbours: [...neighbours],
        ...(link.port?.isLocked ? { allowedMacs: link.allowedMacs ?? [] } : {}),
      }
    })
  }

  async observeLink(at: Place, name: IfName, by: Deadline): Promise<ObservedLink | undefined> {
    return this.#step('observeLink', by, () => {
      const link = this.#at(at).link(name)
      return link && observed(link)
    })
  }

  async observeOwnLinks(by: Deadline): Promise<readonly ObservedLink[]> {
    return this.#step('observeOwnLinks', by, () => this.#ownLinksOf('veth'))
  }

  async observeOwnIfbs(by: Deadline): Promise<readonly ObservedLink[]> {
    return this.#step('observeOwnIfbs', by, () => this.#ownLinksOf('ifb'))
  }

  #ownLinksOf(wanted: string): readonly ObservedLink[] {
    return this.#host.links.filter(({ group, kind }) => isOurGroup(group) && kind === wanted).map(observed)
  }

  async observeShaping(name: IfName, by: Deadline): Promise<ObservedShaping> {
    return this.#step('observeShaping', by, () => {
      const link = this.#host.link(name)
      return link === undefined ? {} : this.#host.shapingOf(link)
    })
  }

  async observeOwnRoutes(by: Deadline): Promise<readonly OwnRoute[]> {
    return this.#step('observeOwnRoutes', by, () =>
      this.#host.routes
        .filter(({ protocol }) => protocol === ROUTE_PROTOCOL)
        .map(({ to, link }) => ({ to, ...(link === undefined ? {} : { linkIndex: link.index }) })),
    )
  }

  async observeLinkTowards(address: Address, by: Deadline): Promise<ObservedLink | undefined> {
    return this.#step('observeLinkTowards', by, () => {
      const link = this.#host.linkTowards(address)
      return link && observed(link)
    })
  }

  async observeRouterAdvertisementLinks(by: Deadline): Promise<readonly ObservedLink[]> {
    return this.#step('observeRouterAdvertisementLinks', by, () => {
      const learnt = this.#host.routes.filter(({ protocol }) => protocol === RTPROT_RA)
      const links = new Set(learnt.map(({ link }) => link).filter(link => link !== undefined))
      return [...links].map(observed)
    })
  }

  readSysctl(at: Place, key: string): string | undefined {
    return this.#step('readSysctl', undefined, () => this.#at(at).sysctls.get(key))
  }

  async hasRuleset({ sets, chains }: Ruleset, by: Deadline): Promise<boolean> {
    return this.#step('hasRuleset', by, () => {
      const hasSets = sets.every(({ name }) => this.#host.sets.has(name))
      return (
        hasSets &&
        chains.every(({ name, rules }) => {
          const comments = this.#host.chains.get(name)
          return (
            comments?.length === rules.length && rules.every((rule, index) => comments[index] === ruleComment(rule))
          )
        })
      )
    })
  }

  async replaceRuleset({ sets, chains }: Ruleset, by: Deadline): Promise<void> {
    this.#step('replaceRuleset', by, () => {
      this.#host.nftGeneration++
      for (const { name, rules } of chains) this.#host.chains.set(name, rules.map(ruleComment))
      for (const { name } of sets) if (!this.#host.sets.has(name)) this.#host.sets.set(name, new Map())
    })
  }

  async observeNftGeneration(by: Deadline): Promise<number> {
    return this.#step('observeNftGeneration', by, () => this.#host.nftGeneration)
  }

  async observeElements(of: AttachmentKey | 'all', by: Deadline): Promise<readonly ObservedElement[]> {
    return this.#step('observeElements', by, () =>
      [...this.#host.sets.values()]
        .flatMap(elements => [...elements.values()])
        .filter(({ owner }) => of === 'all' || (owner !== undefined && equalAttachments(owner, of))),
    )
  }

  async observeSets(sets: readonly SetDefinition[], by: Deadline): Promise<readonly ObservedElement[]> {
    return this.#step('observeSets', by, () =>
      sets.flatMap(({ name }) => [...(this.#host.sets.get(name)?.values() ?? [])]),
    )
  }

  async ensureSetContent(set: SetDefinition, prefixes: readonly Prefix[], by: Deadline): Promise<boolean> {
    return this.#step('ensureSetContent', by, () => {
      if (!this.#host.sets.has(set.name)) throw new KernelError(renderSetContent(set, prefixes), 'ENOENT')
      const wanted = prefixes.map(formatPrefix).toSorted()
      const held = (this.#host.prefixSets.get(set.name) ?? []).map(formatPrefix).toSorted()
      if (wanted.join() === held.join()) return false
      this.#host.prefixSets.set(set.name, prefixes)
      return true
    })
  }

  [Symbol.dispose](): void {
    this.isClosed = true
  }

  #step<T>(step: KernelStep, by: Deadline | undefined, perform: () => T): T {
    if (this.isClosed) throw new Error('a kernel that was disposed of is used')
    const what = typeof step === 'string' ? step : step.do
    by?.throwIfPast(what)
    const fault = this.#fault(step)
    if (fault === undefined) return perform()
    if (fault.how === 'answer lost') performUnseen(perform)
    throw new KernelError(step, fault.errno, { outcomeUnknown: fault.how === 'answer lost' })
  }

  /** @returns The errno, or undefined when it was done. */
  #perform(operation: Operation): string | undefined {
    switch (operation.do) {
      case 'add-veth':
        return this.#addVeth(operation)
      case 'add-bridge':
        return this.#addBridge(operation)
      case 'add-ifb':
        return this.#addIfb(operation)
      case 'set-sysctl':
        return this.#at(operation.at).setSysctl(operation.key, operation.value)
      case 'add-unreachable':
        return this.#host.addRoute({ to: operation.block, protocol: ROUTE_PROTOCOL })
      case 'delete-unreachable':
        return this.#host.deleteRoute({ to: operation.block, protocol: ROUTE_PROTOCOL })
      case 'add-elements':
        return this.#host.addElements(operation.elements, operation.owner)
      case 'delete-elements':
        return this.#host.deleteElements(operation.elements)
      case 'forget-flows':
        this.#host.forgotten.push(...operation.ports)
        return undefined
      default: {
        const netns = this.#at(operation.at)
        const link = netns.link(operation.link)
        return link === undefined ? 'ENODEV' : performOn(netns, link, operation)
      }
    }
  }

  #addBridge({ link: name, mac, mtuBytes }: AddBridge): string | undefined {
    const added = this.#host.addLink({ name, mac, mtuBytes, kind: 'bridge', group: LINK_GROUP })
    return typeof added === 'string' ? added : undefined
  }

  #addIfb({ link: name, mtuBytes }: AddIfb): string | undefined {
    const added = this.#host.addLink({ name, mac: IFB_MAC, mtuBytes, kind: 'ifb', group: LINK_GROUP })
    return typeof added === 'string' ? added : undefined
  }

  #addVeth({ hostIfName, hostMac, hostMtuBytes, podIfName, podMac, podMtuBytes }: AddVeth): string | undefined {
    const pod = this.#at('pod')
    if (this.#host.link(hostIfName) !== undefined) return 'EEXIST'
    const podEnd = pod.addLink({ name: podIfName, mac: podMac, mtuBytes: podMtuBytes, kind: 'veth' })
    if (typeof podEnd === 'string') return podEnd
    const hostEnd = this.#host.addLink({
      name: hostIfName,
      mac: hostMac,
      mtuBytes: hostMtuBytes,
      kind: 'veth',
      group: LINK_GROUP,
    })
    if (typeof hostEnd === 'string') {
      pod.deleteLink(podEnd)
      return hostEnd
    }
    hostEnd.peer = { netns: pod, link: podEnd }
    podEnd.peer = { netns: this.#host, link: hostEnd }
    return undefined
  }

  #at(place: Place): FakeNetns {
    const netns = place === 'host' ? this.#host : this.#pod
    if (netns === undefined) throw new KernelError("opening the pod's network namespace", 'ENOENT')
    return netns
  }
}

/** When nobody sees the answer, nobody sees a refusal either. */
function performUnseen(perform: () => unknown): void {
  try {
    perform()
  } catch (failure) {
    if (!(failure instanceof KernelError)) throw failure
  }
}

type OnLink = Exclude<Extract<Operation, { readonly link: IfName }>, { do: 'add-bridge' | 'add-ifb' }>

function performOn(netns: FakeNetns, link: FakeLink, operation: OnLink): string | undefined {
  switch (operation.do) {
    case 'delete-link':
      return netns.deleteLink(link)
    case 'set-link': {
      const refusal = operation.alias === undefined ? undefined : netns.setAlias(link, operation.alias)
      if (refusal === undefined && operation.promiscuous) link.isPromiscuous = true
      if (refusal === undefined && operation.up) netns.setUp(link)
      return refusal
    }
    case 'add-bridge-port':
      return netns.addPort(link, netns.link(operation.bridge))
    case 'add-forwarding':
      return netns.allowMac(link, operation.mac)
    case 'set-bridge-port':
      return netns.setPort(link, portChange(operation))
    case 'add-shaper':
      return netns.addShaper(link, operation)
    case 'redirect-ingress':
      return netns.redirectIngress(link, netns.link(operation.to))
    case 'disable-link-local':
      return netns.disableLinkLocal(link)
    case 'add-address':
      return netns.addAddress(link, operation.address)
    case 'delete-address':
      return netns.deleteAddress(link, operation.address)
    case 'set-neighbour':
      return netns.setNeighbour(link, operation)
    case 'delete-neighbour':
      return netns.deleteNeighbour(link, operation.address)
    case 'add-route':
      return netns.addRoute(routeOf(operation, link))
    case 'delete-route':
      return netns.deleteRoute(routeOf(operation, link))
  }
}

function portChange({ hairpin, isolated, locked }: SetBridgePort) {
  return {
    ...(hairpin ? { isHairpin: true } : {}),
    ...(isolated ? { isIsolated: true } : {}),
    ...(locked ? { isLocked: true } : {}),
  }
}

function routeOf({ at, to, via }: AddRoute | DeleteRoute, link: FakeLink): FakeRoute {
  const protocol = at === 'host' ? ROUTE_PROTOCOL : RTPROT_BOOT
  return { to, protocol, link, ...(via === undefined ? {} : { via }) }
}

import { equalAddresses, formatAddress, type Address } from '../net/address.ts'
import type { Mac } from '../net/mac.ts'
import { containsAddress, equalPrefixes, formatPrefix, prefixOf, type AddressWithLength } from '../net/prefix.ts'
import { KernelError } from '../plan/kernel.ts'
import { LINK_GROUP, NODE_ROUTE_METRIC, NODE_ROUTE_PROTOCOL, OVERLAY_IF_NAME } from '../plan/marks.ts'
import type { Forwarding, MainRoute, NodeFailure, NodeKernel, NodeLink, ObservedNode } from '../plan/node-kernel.ts'
import { renderNodeOperation, type NodeOperation, type NodeRoute } from '../plan/node-operation.ts'
import { parseIfName, type IfName } from '../net/if-name.ts'
import type { Deadline } from '../time/deadline.ts'

interface FakeNodeLink {
  link: NodeLink
  addresses: AddressWithLength[]
  neighbours: { readonly address: Address; readonly mac: Mac }[]
  forwarding: Forwarding[]
}

/** The node's kernel in memory, under the same contract as the real one: see node-kernel-contract.ts. */
export class FakeNodeKernel implements NodeKernel {
  /** Whatever was done, as commands. */
  readonly done: string[] = []
  readonly #links: FakeNodeLink[] = []
  #routes: MainRoute[] = []
  #nextIndex = 2

  constructor() {
    this.addLink(parseIfName('lo'))
  }

  /** Somebody else's link, up, with addresses. */
  addLink(name: IfName, more: Partial<NodeLink> = {}): NodeLink {
    const link: NodeLink = {
      index: name === 'lo' ? 1 : this.#nextIndex++,
      name,
      mtuBytes: 1500,
      isUp: true,
      group: 0,
      hasNoLinkLocal: false,
      ...more,
    }
    this.#links.push({ link, addresses: [], neighbours: [], forwarding: [] })
    return link
  }

  addAddress(name: string, address: AddressWithLength): void {
    this.#find(name)?.addresses.push(address)
  }

  deleteAddress(name: string, address: AddressWithLength): void {
    const found = this.#find(name)
    if (found !== undefined) found.addresses = found.addresses.filter(held => !isSameAddress(held, address))
  }

  setMtu(name: string, mtuBytes: number): void {
    const found = this.#find(name)
    if (found !== undefined) found.link = { ...found.link, mtuBytes }
  }

  addRoute(route: MainRoute): void {
    this.#routes.push(route)
  }

  async observe(by: Deadline): Promise<ObservedNode> {
    by.throwIfPast("reading the node's network state")
    const overlay = this.#find(OVERLAY_IF_NAME)
    return {
      links: this.#links.map(({ link }) => link),
      addresses: this.#links.flatMap(({ link, addresses }) =>
        addresses.map(address => ({ linkIndex: link.index, address })),
      ),
      routes: [...this.#routes],
      neighbours: (overlay?.neighbours ?? []).map(neighbour => ({ ...neighbour, isPermanent: true })),
      forwarding: [...(overlay?.forwarding ?? [])],
    }
  }

  async applyAll(operations: readonly NodeOperation[], by: Deadline): Promise<readonly NodeFailure[]> {
    by.throwIfPast('changing routes')
    return operations.flatMap(operation => {
      const errno = this.#perform(operation)
      if (errno === undefined) this.done.push(renderNodeOperation(operation))
      return errno === undefined ? [] : [{ operation, error: new KernelError(renderNodeOperation(operation), errno) }]
    })
  }

  [Symbol.dispose](): void {}

  #perform(operation: NodeOperation): string | undefined {
    if (operation.do === 'add-vxlan') return this.#addVxlan(operation)
    if (operation.do === 'delete-node-route') {
      this.#routes = this.#routes.filter(route => !(isOurs(route) && equalPrefixes(route.to, operation.to)))
      return undefined
    }
    const on = this.#find(operation.link)
    if (on === undefined) return operation.do.startsWith('delete-') ? undefined : 'ENODEV'
    if (operation.do === 'add-node-route' || operation.do === 'change-node-route') {
      return this.#setRoute(operation, on.link)
    }
    return this.#change(operation, on)
  }

  #change(operation: LinkOperation, on: FakeNodeLink): string | undefined {
    switch (operation.do) {
      case 'delete-link':
        this.#links.splice(this.#links.indexOf(on), 1)
        this.#routes = this.#routes.filter(({ linkIndex }) => linkIndex !== on.link.index)
        return undefined
      case 'set-mtu':
        on.link = { ...on.link, mtuBytes: operation.mtuBytes }
        return undefined
      case 'set-link':
        on.link = { ...on.link, ...(operation.up === true ? { isUp: true } : {}) }
        return undefined
      case 'disable-link-local':
        on.link = { ...on.link, hasNoLinkLocal: true }
        return undefined
      case 'add-address':
        if (on.addresses.some(held => isSameAddress(held, operation.address))) return 'EEXIST'
        on.addresses.push(operation.address)
        return undefined
      case 'delete-address':
        on.addresses = on.addresses.filter(held => !isSameAddress(held, operation.address))
        return undefined
      case 'set-neighbour':
        on.neighbours = on.neighbours.filter(({ address }) => !equalAddresses(address, operation.address))
        on.neighbours.push({ address: operation.address, mac: operation.mac })
        return undefined
      case 'delete-neighbour':
        on.neighbours = on.neighbours.filter(({ address }) => !equalAddresses(address, operation.address))
        return undefined
      case 'set-forwarding':
        on.forwarding = on.forwarding.filter(({ mac }) => mac !== operation.mac)
        on.forwarding.push({ mac: operation.mac, to: operation.to })
        return undefined
      case 'delete-forwarding':
        on.forwarding = on.forwarding.filter(({ mac }) => mac !== operation.mac)
        return undefined
    }
  }

  #addVxlan({
    link,
    mac,
    vni,
    port,
    local,
    mtuBytes,
  }: Extract<NodeOperation, { do: 'add-vxlan' }>): string | undefined {
    if (this.#find(link) !== undefined) return 'EEXIST'
    const vxlan = { vni, port, local, learns: false }
    this.addLink(link, { mac, mtuBytes, isUp: false, group: LINK_GROUP, kind: 'vxlan', vxlan })
    return undefined
  }

  #setRoute(
    { do: verb, to, via, isOnLink }: { readonly do: 'add-node-route' | 'change-node-route' } & NodeRoute,
    link: NodeLink,
  ): string | undefined {
    if (!link.isUp) return 'ENETDOWN'
    const isReachable =
      isOnLink ||
      isLinkLocal(via) ||
      this.#addressesOf(link).some(held => containsAddress(prefixOf(held.address, held.prefixLength), via))
    if (!isReachable) return via.family === 4 ? 'ENETUNREACH' : 'EHOSTUNREACH'
    const there = this.#routes.findIndex(route => route.metric === NODE_ROUTE_METRIC && equalPrefixes(route.to, to))
    if (there !== -1 && verb === 'add-node-route') return 'EEXIST'
    if (there !== -1) this.#routes.splice(there, 1)
    this.#routes.push({ to, via, linkIndex: link.index, protocol: NODE_ROUTE_PROTOCOL, metric: NODE_ROUTE_METRIC })
    return undefined
  }

  #addressesOf(link: NodeLink): readonly AddressWithLength[] {
    return this.#links.find(known => known.link.index === link.index)?.addresses ?? []
  }

  #find(name: string): FakeNodeLink | undefined {
    return this.#links.find(({ link }) => link.name === name)
  }
}

type LinkOperation = Exclude<
  NodeOperation,
  { do: 'add-vxlan' | 'add-node-route' | 'change-node-route' | 'delete-node-route' }
>

function isOurs({ protocol, metric }: MainRoute): boolean {
  return protocol === NODE_ROUTE_PROTOCOL && metric === NODE_ROUTE_METRIC
}

function isLinkLocal({ family, value }: Address): boolean {
  return family === 6 && value >> 118n === 0xfe80n >> 6n
}

function isSameAddress(a: AddressWithLength, b: AddressWithLength): boolean {
  return equalAddresses(a.address, b.address) && a.prefixLength === b.prefixLength
}

/** The node's routes, neighbours and entries of ours, as text, for comparing states. */
export function renderObservedNode({ links, addresses, routes, neighbours, forwarding }: ObservedNode): string {
  const names = new Map(links.map(({ index, name }) => [index, name]))
  const overlay = links.filter(({ name }) => name === OVERLAY_IF_NAME)
  return [
    ...overlay.map(
      ({ mac, mtuBytes, isUp, vxlan }) =>
        `link ${mac} mtu ${mtuBytes} ${isUp ? 'up' : 'down'} vni ${vxlan?.vni} port ${vxlan?.port} ${vxlan?.local && formatAddress(vxlan.local)}`,
    ),
    ...addresses
      .filter(({ linkIndex }) => names.get(linkIndex) === OVERLAY_IF_NAME)
      .map(({ address }) => `address ${formatPrefix(address)}`)
      .toSorted(),
    ...routes
      .filter(isOurs)
      .map(
        ({ to, via, linkIndex }) =>
          `route ${formatPrefix(to)} via ${via && formatAddress(via)} dev ${names.get(linkIndex ?? 0)}`,
      )
      .toSorted(),
    ...neighbours
      .filter(({ isPermanent }) => isPermanent)
      .map(({ address, mac }) => `neighbour ${formatAddress(address)} ${mac}`)
      .toSorted(),
    ...forwarding.map(({ mac, to }) => `forwarding ${mac} ${formatAddress(to)}`).toSorted(),
  ].join('\n')
}

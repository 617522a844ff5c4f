import type { NativeAddon } from '../../native/addon.ts'
import type { IfName } from '../net/if-name.ts'
import { KernelError, isErrno } from '../plan/kernel.ts'
import { OVERLAY_IF_NAME } from '../plan/marks.ts'
import type { NodeFailure, NodeKernel, ObservedNode } from '../plan/node-kernel.ts'
import { renderNodeOperation, type NodeOperation } from '../plan/node-operation.ts'
import type { Deadline } from '../time/deadline.ts'
import { NetlinkError } from './netlink-error.ts'
import { NETLINK_ROUTE, OWN_NETNS, NetlinkSocket, type NetlinkReply, type NetlinkRequest } from './netlink-socket.ts'
import * as decodeNode from './node-decode.ts'
import * as encodeNode from './node-encode.ts'
import * as decode from './rtnetlink-decode.ts'
import * as encode from './rtnetlink-encode.ts'
import { toKernelError } from './to-kernel-error.ts'

/** Requests sent in one go: their answers take a tenth of the room that the socket has for them. */
const BATCH_SIZE = 256
/** A family that the kernel runs without has no routes, and a table that nobody used is not there. */
const NO_ROUTES = ['ENOENT', 'EAFNOSUPPORT', 'EOPNOTSUPP'] as const
const NO_LINK = ['ENODEV', 'ENOENT'] as const
/** What the kernel says when something that is to be removed is not there. */
const ABSENT: Partial<Record<NodeOperation['do'], readonly string[]>> = {
  'delete-link': ['ENODEV'],
  'delete-address': ['EADDRNOTAVAIL', 'ENODEV'],
  'delete-neighbour': ['ENOENT', 'ENODEV'],
  'delete-forwarding': ['ENOENT', 'ENODEV'],
  'delete-node-route': ['ESRCH'],
}

/** Opens the running kernel for who joins this node with others. */
export function openLinuxNodeKernel(addon: NativeAddon): NodeKernel {
  return new LinuxNodeKernel(
    new NetlinkSocket(addon, { netnsFd: OWN_NETNS, protocol: NETLINK_ROUTE, exchange: 'async' }),
  )
}

class LinuxNodeKernel implements NodeKernel {
  readonly #socket: NetlinkSocket

  constructor(socket: NetlinkSocket) {
    this.#socket = socket
  }

  async observe(by: Deadline): Promise<ObservedNode> {
    const links = (await this.#dump(encodeNode.dumpLinks(), by)).map(decodeNode.decodeNodeLink)
    const addresses = (await this.#dump(encode.dumpAddresses(0), by)).map(decodeNode.decodeLinkAddress)
    const routes = [...(await this.#routes(4, by)), ...(await this.#routes(6, by))].map(decodeNode.decodeMainRoute)
    const overlay = links.find(link => link.name === OVERLAY_IF_NAME)
    const onOverlay = overlay === undefined ? { neighbours: [], forwarding: [] } : await this.#onLink(overlay.index, by)
    return { links, addresses: addresses.filter(isPresent), routes: routes.filter(isPresent), ...onOverlay }
  }

  async #onLink(index: number, by: Deadline): Promise<Pick<ObservedNode, 'neighbours' | 'forwarding'>> {
    try {
      const neighbours = (await this.#dump(encode.dumpNeighbours(index), by)).map(decode.decodeNeighbour)
      const forwarding = (await this.#dump(encodeNode.dumpForwarding(index), by)).map(decodeNode.decodeForwarding)
      return { neighbours: neighbours.filter(isPresent), forwarding: forwarding.filter(isPresent) }
    } catch (error) {
      // It went while it was looked at.
      if (isErrno(error, ...NO_LINK)) return { neighbours: [], forwarding: [] }
      throw error
    }
  }

  async #routes(family: 4 | 6, by: Deadline): Promise<readonly NetlinkReply[]> {
    try {
      return await this.#dump(encodeNode.dumpMainRoutes(family), by)
    } catch (error) {
      if (isErrno(error, ...NO_ROUTES)) return []
      throw error
    }
  }

  async applyAll(operations: readonly NodeOperation[], by: Deadline): Promise<readonly NodeFailure[]> {
    const failures: NodeFailure[] = []
    // Making or removing a link changes what its name stands for: what comes after asks anew.
    for (const part of splitAfterLinks(operations)) failures.push(...(await this.#applyPart(part, by)))
    return failures
  }

  async #applyPart(operations: readonly NodeOperation[], by: Deadline): Promise<readonly NodeFailure[]> {
    const indexes = new Map<IfName, number | undefined>()
    const failures: NodeFailure[] = []
    const ready: { readonly operation: NodeOperation; readonly request: NetlinkRequest }[] = []
    for (const operation of operations) {
      const request = await this.#encode(operation, { indexes, by })
      if (request !== undefined) ready.push({ operation, request })
      else if (!(ABSENT[operation.do] ?? []).includes('ENODEV')) failures.push(failureOf(operation, 'ENODEV'))
    }
    for (let from = 0; from < ready.length; from += BATCH_SIZE) {
      const batch = ready.slice(from, from + BATCH_SIZE)
      const outcomes = await this.#send(
        batch.map(({ request }) => request),
        by,
      )
      for (const [at, { operation }] of batch.entries()) {
        const outcome = outcomes[at]
        if (outcome === undefined || (ABSENT[operation.do] ?? []).includes(outcome.code)) continue
        failures.push(failureOf(operation, outcome.code, outcome))
      }
    }
    return failures
  }

  async #send(requests: readonly NetlinkRequest[], by: Deadline): Promise<readonly (NetlinkError | undefined)[]> {
    try {
      return await this.#socket.outcomes(requests, by)
    } catch (cause) {
      throw toKernelError(cause, 'changing routes')
    }
  }

  /** Undefined when the link that the operation names is not there. */
  async #encode(operation: NodeOperation, look: LookUp): Promise<NetlinkRequest | undefined> {
    if (operation.do === 'add-vxlan') return encodeNode.addVxlan(operation)
    if (operation.do === 'delete-node-route') return encodeNode.deleteNodeRoute(operation.to)
    const index = await this.#indexOf(operation.link, look)
    if (index === undefined) return undefined
    switch (operation.do) {
      case 'set-mtu':
        return encodeNode.setMtu(operation, index)
      case 'set-forwarding':
        return encodeNode.setForwarding(operation, index)
      case 'delete-forwarding':
        return encodeNode.deleteForwarding(operation, index)
      case 'add-node-route':
        return encodeNode.setNodeRoute('add', operation, index)
      case 'change-node-route':
        return encodeNode.setNodeRoute('change', operation, index)
      case 'delete-link':
        return encode.deleteLink(index)
      case 'set-link':
        return encode.setLink(operation, index)
      case 'disable-link-local':
        return encode.disableLinkLocal(index)
      case 'add-address':
      case 'delete-address':
        return encode.changeAddress(operation, index)
      case 'set-neighbour':
        return encode.setNeighbour(operation, index)
      case 'delete-neighbour':
        return encode.deleteNeighbour(operation, index)
    }
  }

  async #indexOf(name: IfName, { indexes, by }: LookUp): Promise<number | undefined> {
    if (indexes.has(name)) return indexes.get(name)
    const index = await this.#findLink(name, by)
    indexes.set(name, index)
    return index
  }

  async #findLink(name: IfName, by: Deadline): Promise<number | undefined> {
    try {
      const reply = await this.#socket.get(encode.getLink({ name }), by)
      return reply && decode.decodeLink(reply).index
    } catch (cause) {
      if (cause instanceof NetlinkError && NO_LINK.some(code => code === cause.code)) return undefined
      throw toKernelError(cause, `ip link show dev ${name}`)
    }
  }

  async #dump(request: NetlinkRequest, by: Deadline): Promise<readonly NetlinkReply[]> {
    try {
      return await this.#socket.dump(request, by)
    } catch (cause) {
      throw toKernelError(cause, "reading the node's network state")
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close()
  }
}

interface LookUp {
  /** What was found before. */
  readonly indexes: Map<IfName, number | undefined>
  readonly by: Deadline
}

/** Each part but the last ends with an operation that makes or removes a link. */
function splitAfterLinks(operations: readonly NodeOperation[]): readonly (readonly NodeOperation[])[] {
  const parts: NodeOperation[][] = [[]]
  for (const operation of operations) {
    parts.at(-1)?.push(operation)
    if (operation.do === 'add-vxlan' || operation.do === 'delete-link') parts.push([])
  }
  return parts.filter(part => part.length > 0)
}

function failureOf(operation: NodeOperation, errno: string, cause?: NetlinkError): NodeFailure {
  const error = new KernelError(renderNodeOperation(operation), errno, { cause, detail: cause?.extAck })
  return { operation, error }
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined
}

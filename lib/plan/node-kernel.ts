import type { Address } from '../net/address.ts'
import type { Mac } from '../net/mac.ts'
import type { AddressWithLength, Prefix } from '../net/prefix.ts'
import type { Deadline } from '../time/deadline.ts'
import type { KernelError } from './kernel.ts'
import type { NodeOperation } from './node-operation.ts'
import type { ObservedLink, ObservedNeighbour } from './observed.ts'

/** What a VXLAN device was made with. */
export interface VxlanSettings {
  readonly vni: number
  readonly port: number
  /** Undefined where the device sends from any address. */
  readonly local?: Address
  readonly learns: boolean
}

/** A link of the node. */
export interface NodeLink extends ObservedLink {
  /** Of VXLAN devices. */
  readonly vxlan?: VxlanSettings
}

export interface LinkAddress {
  readonly linkIndex: number
  readonly address: AddressWithLength
}

/** A route of the main table, with its first next hop. */
export interface MainRoute {
  readonly to: Prefix
  readonly protocol: number
  readonly metric: number
  /** Undefined where it leads nowhere (unreachable), or over several next hops. */
  readonly linkIndex?: number
  readonly via?: Address
}

/** Where a hardware address of the overlay is. */
export interface Forwarding {
  readonly mac: Mac
  readonly to: Address
}

/** What the node's network is like, as far as it decides how packets reach other nodes' pods. */
export interface ObservedNode {
  readonly links: readonly NodeLink[]
  readonly addresses: readonly LinkAddress[]
  readonly routes: readonly MainRoute[]
  /** Of the link called OVERLAY_IF_NAME. */
  readonly neighbours: readonly ObservedNeighbour[]
  readonly forwarding: readonly Forwarding[]
}

/** The running kernel, as the one who joins this node with others sees it. */
export interface NodeKernel extends Disposable {
  /** @throws {KernelError} */
  observe(by: Deadline): Promise<ObservedNode>

  /**
   * Performs operations in their order, many in one request. One that fails keeps none of the others from being done, but for
   * those that need the link which could not be made.
   *
   * A thing that is to be removed and is not there is removed.
   *
   * @returns what failed, in order. @throws {KernelError} when the kernel did not answer: what was done is not known then.
   */
  applyAll(operations: readonly NodeOperation[], by: Deadline): Promise<readonly NodeFailure[]>
}

/** An operation that the kernel refused. */
export interface NodeFailure {
  readonly operation: NodeOperation
  readonly error: KernelError
}

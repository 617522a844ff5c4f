import type { Address } from '../net/address.ts'
import type { IfName } from '../net/if-name.ts'
import type { Mac } from '../net/mac.ts'
import { formatAddress } from '../net/address.ts'
import { formatPrefix, type Prefix } from '../net/prefix.ts'
import { LINK_GROUP, NODE_ROUTE_METRIC, NODE_ROUTE_PROTOCOL } from './marks.ts'
import type {
  AddAddress,
  DeleteAddress,
  DeleteLink,
  DeleteNeighbour,
  DisableLinkLocal,
  SetLink,
  SetNeighbour,
} from './operation.ts'
import { renderCommand } from './render.ts'

/** Creates the node's VXLAN device: it learns nothing and floods nothing, and sends only where its entries say. */
export interface AddVxlan {
  readonly do: 'add-vxlan'
  readonly link: IfName
  readonly mac: Mac
  readonly vni: number
  /** UDP port at which every node listens. */
  readonly port: number
  /** The node's own address: the source of the outer packets. Its family is that of the network between the nodes. */
  readonly local: Address
  readonly mtuBytes: number
}

/** Changes the MTU of a link of ours. */
export interface SetMtu {
  readonly do: 'set-mtu'
  readonly link: IfName
  readonly mtuBytes: number
}

/** Says at which node a hardware address of the overlay is. Replaces what was said of it before. */
export interface SetForwarding {
  readonly do: 'set-forwarding'
  readonly link: IfName
  readonly mac: Mac
  readonly to: Address
}

export interface DeleteForwarding {
  readonly do: 'delete-forwarding'
  readonly link: IfName
  readonly mac: Mac
}

/** A route to a prefix of another node's pods. `isOnLink`: the next hop is on the link, whatever the link's addresses say. */
export interface NodeRoute {
  readonly to: Prefix
  readonly via: Address
  readonly link: IfName
  readonly isOnLink: boolean
}

/** Adds a route that is not there yet. Refused (EEXIST) when somebody else's has our metric. */
export interface AddNodeRoute extends NodeRoute {
  readonly do: 'add-node-route'
}

/** Changes a route of ours in one step: no packet finds none. */
export interface ChangeNodeRoute extends NodeRoute {
  readonly do: 'change-node-route'
}

/** Removes a route of ours, whatever its next hop is. */
export interface DeleteNodeRoute {
  readonly do: 'delete-node-route'
  readonly to: Prefix
}

/**
 * One change that joins this node with others, as a value (invariant 3).
 *
 * There is no undo: the node is brought from any state to the wanted one, and what failed is tried again from what is there.
 */
export type NodeOperation =
  | AddVxlan
  | SetMtu
  | SetForwarding
  | DeleteForwarding
  | AddNodeRoute
  | ChangeNodeRoute
  | DeleteNodeRoute
  | SetLink
  | DeleteLink
  | DisableLinkLocal
  | AddAddress
  | DeleteAddress
  | SetNeighbour
  | DeleteNeighbour

/** Renders `operation` as the ip(8) or bridge(8) command that does the same. */
export function renderNodeOperation(operation: NodeOperation): string {
  switch (operation.do) {
    case 'add-vxlan': {
      const { link, mac, vni, port, local, mtuBytes } = operation
      const common = `ip link add ${link} group ${LINK_GROUP} address ${mac} mtu ${mtuBytes} type vxlan id ${vni}`
      return `${common} dstport ${port} local ${formatAddress(local)} nolearning`
    }
    case 'set-mtu':
      return `ip link set dev ${operation.link} mtu ${operation.mtuBytes}`
    case 'set-forwarding':
      return `bridge fdb replace ${operation.mac} dev ${operation.link} dst ${formatAddress(operation.to)} self permanent`
    case 'delete-forwarding':
      return `bridge fdb delete ${operation.mac} dev ${operation.link} self`
    case 'add-node-route':
      return `ip route add ${renderNodeRoute(operation)}`
    case 'change-node-route':
      return `ip route replace ${renderNodeRoute(operation)}`
    case 'delete-node-route':
      return `ip route delete ${formatPrefix(operation.to)} proto ${NODE_ROUTE_PROTOCOL} metric ${NODE_ROUTE_METRIC}`
    default:
      return renderCommand(operation)
  }
}

function renderNodeRoute({ to, via, link, isOnLink }: NodeRoute): string {
  const onLink = isOnLink ? ' onlink' : ''
  const marks = `proto ${NODE_ROUTE_PROTOCOL} metric ${NODE_ROUTE_METRIC}`
  return `${formatPrefix(to)} via ${formatAddress(via)} dev ${link}${onLink} ${marks}`
}

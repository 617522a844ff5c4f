import type { IfName } from '../net/if-name.ts'
import { placeOf, type Operation, type Place } from '../plan/operation.ts'
import type { NetlinkRequest } from './netlink-socket.ts'
import * as encode from './rtnetlink-encode.ts'
import * as trafficControl from './traffic-control-encode.ts'

/** What is one or more messages to rtnetlink, and nothing else. */
export type PlainOperation = Exclude<Operation, { do: (typeof OTHERS)[number] }>

const OTHERS = ['set-sysctl', 'add-veth', 'delete-link', 'add-elements', 'delete-elements', 'forget-flows'] as const

export function isPlain(operation: Operation): operation is PlainOperation {
  return !OTHERS.some(other => other === operation.do)
}

/** A link by its name. */
export interface LinkAt {
  readonly at: Place
  readonly name: IfName
}

/** The links whose indexes encodeOperation() asks for. */
export function linksOf(operation: PlainOperation): readonly LinkAt[] {
  switch (operation.do) {
    case 'add-unreachable':
    case 'delete-unreachable':
    case 'add-bridge':
    case 'add-ifb':
      return []
    case 'add-bridge-port':
      return [
        { at: placeOf(operation), name: operation.link },
        { at: 'host', name: operation.bridge },
      ]
    case 'redirect-ingress':
      return [
        { at: placeOf(operation), name: operation.link },
        { at: 'host', name: operation.to },
      ]
    default:
      return [{ at: placeOf(operation), name: operation.link }]
  }
}

/** The messages that are the operation. @throws what `indexOf` throws. */
export function encodeOperation(
  operation: PlainOperation,
  indexOf: (link: LinkAt) => number,
): readonly NetlinkRequest[] {
  if (operation.do === 'add-unreachable') return [encode.changeUnreachable('add', operation.block)]
  if (operation.do === 'delete-unreachable') return [encode.changeUnreachable('delete', operation.block)]
  if (operation.do === 'add-bridge') return [encode.addBridge(operation)]
  if (operation.do === 'add-ifb') return [encode.addIfb(operation)]
  const index = indexOf({ at: placeOf(operation), name: operation.link })
  switch (operation.do) {
    case 'add-bridge-port':
      return [encode.addBridgePort(index, indexOf({ at: 'host', name: operation.bridge }))]
    case 'add-shaper':
      return [trafficControl.addShaper(operation, index)]
    case 'redirect-ingress':
      return trafficControl.redirectIngress(index, indexOf({ at: 'host', name: operation.to }))
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

import type { Operation, Plan } from './operation.ts'

/**
 * The operation that takes `operation` back, or nothing where its traces go away with the link that it changed.
 *
 * A setting of a link of ours ends with the link; a setting of the whole node is never part of a pod's plan.
 */
export function inverseOf(operation: Operation): Operation | undefined {
  switch (operation.do) {
    case 'add-veth':
      return { do: 'delete-link', at: 'host', link: operation.hostIfName }
    case 'add-ifb':
      return { do: 'delete-link', at: 'host', link: operation.link }
    case 'add-address':
      return { do: 'delete-address', at: operation.at, link: operation.link, address: operation.address }
    case 'set-neighbour':
      return { do: 'delete-neighbour', at: operation.at, link: operation.link, address: operation.address }
    case 'add-route':
      return { ...operation, do: 'delete-route' }
    case 'add-unreachable':
      return { ...operation, do: 'delete-unreachable' }
    case 'add-elements':
      return { ...operation, do: 'delete-elements' }
    // A port is one as long as its link is there. A bridge is the node's, and stays.
    case 'add-bridge':
    case 'add-bridge-port':
    case 'add-forwarding':
    case 'set-bridge-port':
    case 'add-shaper':
    case 'redirect-ingress':
    case 'set-link':
    case 'disable-link-local':
    case 'set-sysctl':
    case 'delete-link':
    case 'delete-address':
    case 'delete-neighbour':
    case 'delete-route':
    case 'delete-unreachable':
    case 'delete-elements':
    case 'forget-flows':
      return undefined
  }
}

/** What undoes `plan`: the inverses, newest first. */
export function undoOf(plan: Plan): Plan {
  return plan
    .toReversed()
    .map(inverseOf)
    .filter(operation => operation !== undefined)
}

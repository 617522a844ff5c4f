import type { Address } from './address.ts'

/** Transport protocols that have ports. */
export type Protocol = 'tcp' | 'udp' | 'sctp'

/** Every transport protocol that has ports. */
export const PROTOCOLS: readonly Protocol[] = ['tcp', 'udp', 'sctp']

/** One port of the node that leads to a port of a pod. */
export interface PortMapping {
  readonly protocol: Protocol
  readonly hostPort: number
  readonly containerPort: number
  /** Undefined: on every address of the node, in every family that the pod has. 0.0.0.0 and ::: on every one of theirs. */
  readonly hostAddress?: Address
}

/** Renders the node's side of a mapping: `8080/tcp`, or `192.0.2.1:8080/tcp`. */
export function renderHostPort(mapping: Pick<PortMapping, 'protocol' | 'hostPort'>, hostAddress?: string): string {
  const at = hostAddress === undefined ? '' : `${hostAddress.includes(':') ? `[${hostAddress}]` : hostAddress}:`
  return `${at}${mapping.hostPort}/${mapping.protocol}`
}

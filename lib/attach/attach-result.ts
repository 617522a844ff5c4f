import type { NetworkConfiguration } from '../cni/configuration.ts'
import type { Dns, Result } from '../cni/result.ts'
import { hostPrefix } from '../net/prefix.ts'
import { gatewayOf, podRoutes, type AttachInput } from '../plan/plan-attach.ts'

/** What beside the wiring goes into a result. */
export interface ResultContext {
  readonly network: NetworkConfiguration
  readonly netnsPath: string
  /** The resolver settings that the address source gave. */
  readonly dns: Dns
  /** Those of the configuration and the runtime, which come before. */
  readonly ownDns: Dns
}

/**
 * The result of ADD: what an earlier plugin of the chain made, and after it what we made (SPEC 1.1.0, section 5; checklist
 * A2, A4, A5). Resolver settings of the configuration come before those of the address source.
 */
export function attachResult(input: AttachInput, { network, netnsPath, dns, ownDns }: ResultContext): Result {
  const earlier = network.prevResult ?? { interfaces: [], ips: [], routes: [], dns: {} }
  const { mtuBytes } = input
  const podIndex = earlier.interfaces.length + 1
  return {
    interfaces: [
      ...earlier.interfaces,
      { name: input.hostIfName, mac: input.hostMac, mtuBytes },
      { name: input.podIfName, mac: input.podMac, mtuBytes, sandbox: netnsPath },
    ],
    ips: [
      ...earlier.ips,
      ...input.addresses.map(address => ({
        address: hostPrefix(address),
        gateway: gatewayOf(address.family),
        interfaceIndex: podIndex,
      })),
    ],
    routes: [...earlier.routes, ...podRoutes(input).map(dst => ({ dst, gw: gatewayOf(dst.address.family) }))],
    dns: { ...earlier.dns, ...dns, ...ownDns },
  }
}

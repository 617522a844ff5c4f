import type { NetworkConfiguration } from '../cni/configuration.ts'
import type { Dns, Result, ResultInterface, ResultIp, ResultRoute } from '../cni/result.ts'
import { hostPrefix } from '../net/prefix.ts'
import type { ObservedLink } from '../plan/observed.ts'
import { gatewayOf, podRoutes, type AttachInput } from '../plan/plan-attach.ts'
import type { BridgeAttachInput } from '../plan/plan-bridge.ts'

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
export function attachResult(input: AttachInput, context: ResultContext): Result {
  const { mtuBytes } = input
  return resultOf(
    {
      hostInterfaces: [{ name: input.hostIfName, mac: input.hostMac, mtuBytes }],
      podInterface: { name: input.podIfName, mac: input.podMac, mtuBytes },
      ips: input.addresses.map(address => ({ address: hostPrefix(address), gateway: gatewayOf(address.family) })),
      routes: podRoutes(input).map(dst => ({ dst, gw: gatewayOf(dst.address.family) })),
    },
    context,
  )
}

/** The result of ADD in bridge mode: the bridge, both ends of the pair, and addresses of a shared link. */
export function bridgeResult(input: BridgeAttachInput, bridge: ObservedLink, context: ResultContext): Result {
  const { mtuBytes } = input
  const mac = bridge.mac === undefined ? {} : { mac: bridge.mac }
  return resultOf(
    {
      hostInterfaces: [
        { name: bridge.name, ...mac, mtuBytes: bridge.mtuBytes },
        { name: input.hostIfName, mac: input.hostMac, mtuBytes },
      ],
      podInterface: { name: input.podIfName, mac: input.podMac, mtuBytes },
      ips: input.addresses,
      routes: input.routes.map(({ to: dst, via: gw }) => ({ dst, ...(gw === undefined ? {} : { gw }) })),
    },
    context,
  )
}

/** What an ADD of ours made, in the words of a result. */
interface Made {
  readonly hostInterfaces: readonly ResultInterface[]
  readonly podInterface: ResultInterface
  readonly ips: readonly Omit<ResultIp, 'interfaceIndex'>[]
  readonly routes: readonly ResultRoute[]
}

function resultOf(made: Made, { network, netnsPath, dns, ownDns }: ResultContext): Result {
  const earlier = network.prevResult ?? { interfaces: [], ips: [], routes: [], dns: {} }
  const interfaceIndex = earlier.interfaces.length + made.hostInterfaces.length
  return {
    interfaces: [...earlier.interfaces, ...made.hostInterfaces, { ...made.podInterface, sandbox: netnsPath }],
    ips: [...earlier.ips, ...made.ips.map(ip => ({ ...ip, interfaceIndex }))],
    routes: [...earlier.routes, ...made.routes],
    dns: { ...earlier.dns, ...dns, ...ownDns },
  }
}

import type { BridgeConfiguration } from '../cni/bridge-configuration.ts'
import { CniError, ErrorCode } from '../cni/errors.ts'
import type { Result } from '../cni/result.ts'
import { addressAt, equalAddresses, formatAddress } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import type { Mac } from '../net/mac.ts'
import { bitsOf, formatPrefix, prefixOf, type AddressWithLength } from '../net/prefix.ts'
import type { Exposure } from '../plan/exposure.ts'
import { hostIfNameOf, macOf } from '../plan/link-names.ts'
import type { Kernel } from '../plan/kernel.ts'
import { bridgeRoutes, planBridgeAttach, type BridgeInput, type OnLinkAddress } from '../plan/plan-bridge.ts'
import type { Deadline } from '../time/deadline.ts'
import type { Granted } from './address-source.ts'
import { bridgeResult, type ResultContext } from './attach-result.ts'
import type { AttachmentCall } from './call.ts'
import type { Edges } from './edges.ts'
import { ensureBridge } from './ensure-bridge.ts'
import { applyWith } from './expose.ts'
import { IPV6_MIN_MTU_BYTES, observeNode, prepareNode, refuseSmallMtu, type NodeFacts } from './node.ts'

/** What an ADD knows when it begins to wire the pod. */
export interface Wiring {
  readonly granted: Granted
  readonly podMac: Mac
  readonly mtuBytes: number
  readonly exposure: Exposure | undefined
  readonly edges: Edges
  readonly by: Deadline
}

/** A pod to wire, and where. */
export interface ToWire extends Wiring {
  readonly kernel: Kernel
  readonly context: ResultContext
}

/** Puts the pod on the node's bridge, which is made where it is not there. Undoes what is the pod's when it fails. */
export async function addToBridge(call: AttachmentCall, own: BridgeConfiguration, on: ToWire): Promise<Result> {
  const { kernel, granted, podMac, mtuBytes, exposure, edges, by, context } = on
  const { attachment } = call
  const addresses = withGateways(granted.onLink, own)
  const families = granted.addresses.map(address => address.family)
  refuseSmallMtu({ mtuBytes, isAsked: call.own.mtuBytes !== undefined, families })
  const facts = observeNode(kernel, families)
  const log = (line: string): void => edges.log(line)
  await prepareNode(kernel, { families: own.isGateway ? families : [], facts, log, by })
  const mac = macOf(attachment, 'bridge')
  const want = bridgeInput(own, { addresses, facts, mac, mtuBytes })
  const bridge = await ensureBridge(kernel, want, { forceAddress: own.forceAddress, log, by })
  const input = {
    attachment,
    hostIfName: hostIfNameOf(attachment),
    hostMac: macOf(attachment, 'host'),
    podIfName: parseIfName(attachment.ifName),
    podMac,
    mtuBytes,
    bridge: own.bridge,
    port: portOf(own),
    addresses,
    routes: bridgeRoutes({
      addresses,
      routes: [...granted.routes, ...ownRoutes(own)],
      isDefaultGateway: own.isDefaultGateway,
      viaHost: call.own.ipsToRouteViaHost,
    }),
    hostHasIpv6: want.hostHasIpv6,
    podDisablesIpv6: facts.podDisablesIpv6,
    ...(exposure === undefined ? {} : { exposure }),
    ...(call.own.bandwidth === undefined ? {} : { bandwidth: call.own.bandwidth }),
  }
  await applyWith(kernel, planBridgeAttach(input), on)
  // Looking at the bridge makes the kernel act on its first carrier at once, as with the ends of a pair.
  return bridgeResult(input, (await kernel.observeLink('host', own.bridge, by)) ?? bridge, context)
}

/** How the pod's port has to be. */
export function portOf({ hairpinMode, portIsolation, macSpoofCheck }: BridgeConfiguration) {
  return { isHairpin: hairpinMode, isIsolated: portIsolation, isLocked: macSpoofCheck }
}

/** What bridgeInput has to know. */
export interface BridgeFacts {
  readonly addresses: readonly OnLinkAddress[]
  readonly facts: NodeFacts
  readonly mac: Mac
  readonly mtuBytes: number
}

/** How the bridge of pods with these addresses has to be. */
export function bridgeInput(own: BridgeConfiguration, { addresses, facts, mac, mtuBytes }: BridgeFacts): BridgeInput {
  return {
    bridge: own.bridge,
    mac,
    mtuBytes,
    gateways: own.isGateway ? addresses.flatMap(gatewayOnBridge) : [],
    isPromiscuous: own.promiscMode,
    // A link with a smaller MTU has no IPv6 settings that could be set.
    hostHasIpv6: facts.hasIpv6 && mtuBytes >= IPV6_MIN_MTU_BYTES,
    hostDisablesIpv6: facts.disablesIpv6,
  }
}

function gatewayOnBridge({ address, gateway }: OnLinkAddress): readonly AddressWithLength[] {
  return gateway === undefined ? [] : [{ address: gateway, prefixLength: address.prefixLength }]
}

function ownRoutes({ routes }: BridgeConfiguration) {
  return routes.map(({ dst: to, gw: via }) => ({ to, ...(via === undefined ? {} : { via }) }))
}

/**
 * Where the node is the gateway and the IPAM plugin names none, it is the first address of the prefix, as with the reference
 * plugin.
 *
 * @throws {CniError} code 104 when there is none, or it is the pod's own.
 */
function withGateways(granted: readonly OnLinkAddress[], { isGateway }: BridgeConfiguration): readonly OnLinkAddress[] {
  if (!isGateway) return granted
  return granted.map(({ address, gateway = firstHostOf(address) }) => {
    if (gateway === undefined) throw unusable(`${formatPrefix(address)} has no room for a gateway`)
    if (!equalAddresses(gateway, address.address)) return { address, gateway }
    throw unusable(`the pod is to have the address of its gateway, ${formatAddress(gateway)}`)
  })
}

function firstHostOf({ address, prefixLength }: AddressWithLength) {
  if (prefixLength >= bitsOf(address.family) - 1) return undefined
  return addressAt(address.family, prefixOf(address, prefixLength).address.value + 1n)
}

function unusable(what: string): CniError {
  return new CniError(ErrorCode.ipamFailed, `isGateway: ${what}`)
}

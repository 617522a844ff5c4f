import { askedMac } from '../cni/asked-mac.ts'
import type { BridgeConfiguration } from '../cni/bridge-configuration.ts'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { portMappings } from '../cni/port-mappings.ts'
import type { ResultIp, ResultRoute } from '../cni/result.ts'
import { parseIfName } from '../net/if-name.ts'
import { containsAddress, prefixOf } from '../net/prefix.ts'
import { hostIfNameOf, macOf } from '../plan/link-names.ts'
import type { Kernel } from '../plan/kernel.ts'
import { planBridgeAttach } from '../plan/plan-bridge.ts'
import { bridgeInput, portOf } from './add-to-bridge.ts'
import type { AttachmentCall } from './call.ts'
import { checkBridge } from './ensure-bridge.ts'
import { exposureOf } from './expose.ts'
import { resultMac, type Expectation, type Known } from './expectation.ts'
import { mtusOf } from './made-mtus.ts'
import { IPV6_MIN_MTU_BYTES, observeNode } from './node.ts'

interface OnBridge extends Known {
  readonly kernel: Kernel
}

/**
 * What CHECK expects of a pod on a bridge: the pod's part, and the bridge where it is ours; a foreign one has to be up, with
 * the gateways that the pods use.
 *
 * @throws {CniError} code 7 when prevResult has no address of ours.
 */
export async function expectationOnBridge(
  call: AttachmentCall,
  own: BridgeConfiguration,
  { kernel, made, prevResult, by }: OnBridge,
): Promise<Expectation> {
  const { attachment } = call
  const names = { hostIfName: hostIfNameOf(attachment), podIfName: parseIfName(attachment.ifName) }
  const ips = prevResult.ips.filter(ip => ip.interfaceIndex === made.podIndex)
  if (ips.length === 0)
    throw new CniError(ErrorCode.invalidConfig, `prevResult.ips has no address that ADD gave to ${names.podIfName}`)
  const { hostMtu = 0, podMtu } = await mtusOf(kernel, { made, asked: call.own.mtuBytes, names, by })
  const firstPodMac = askedMac(call.network, call.invocation.args) ?? macOf(attachment, 'pod')
  const facts = observeNode(
    kernel,
    ips.map(({ address }) => address.address.family),
  )
  const mac = macOf(attachment, 'bridge')
  const bridge = await checkBridge(kernel, bridgeInput(own, { addresses: ips, facts, mac, mtuBytes: hostMtu }), by)
  const addresses = ips.map(({ address }) => address.address)
  const exposure = exposureOf(call, { addresses, ports: portMappings(call.network) })
  const plan = planBridgeAttach({
    attachment,
    ...names,
    hostMac: macOf(attachment, 'host'),
    podMac: resultMac(made.pod) ?? firstPodMac,
    firstPodMac,
    mtuBytes: hostMtu,
    ...(podMtu === undefined ? {} : { podMtuBytes: podMtu }),
    bridge: own.bridge,
    port: portOf(own),
    addresses: ips,
    routes: prevResult.routes
      .filter(route => leadsOverLink(route, ips))
      .map(({ dst: to, gw: via }) => ({ to, ...(via === undefined ? {} : { via }) })),
    hostHasIpv6: facts.hasIpv6 && hostMtu >= IPV6_MIN_MTU_BYTES,
    podDisablesIpv6: facts.podDisablesIpv6,
    ...(exposure === undefined ? {} : { exposure }),
    ...(call.own.bandwidth === undefined ? {} : { bandwidth: call.own.bandwidth }),
  })
  const families = ips.map(({ address }) => address.address.family)
  return {
    plan: [...bridge.plan, ...plan],
    bridge: bridge.bridge,
    addresses,
    exposure,
    forwarded: own.isGateway ? [...new Set(families)] : [],
    alsoWrong: bridge.problems ?? [],
  }
}

/** A later plugin of the chain may have added routes of its own, by other interfaces (K4). */
function leadsOverLink({ gw }: ResultRoute, ips: readonly ResultIp[]): boolean {
  return (
    gw !== undefined && ips.some(({ address }) => containsAddress(prefixOf(address.address, address.prefixLength), gw))
  )
}

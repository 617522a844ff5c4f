import { CniError, ErrorCode } from '../cni/errors.ts'
import { portMappings } from '../cni/port-mappings.ts'
import type { Result, ResultIp } from '../cni/result.ts'
import { equalAddresses } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { diffPlan, renderProblem } from '../plan/diff.ts'
import { rulesetsOf } from '../plan/exposure.ts'
import type { Kernel } from '../plan/kernel.ts'
import { hostIfNameOf, macOf } from '../plan/link-names.ts'
import type { ObservedState } from '../plan/observed.ts'
import type { Plan } from '../plan/operation.ts'
import { gatewayOf, planAttach, type AttachInput } from '../plan/plan-attach.ts'
import type { Deadline } from '../time/deadline.ts'
import { requireNetns } from './add.ts'
import { addressSource } from './address-source.ts'
import type { AttachmentCall } from './call.ts'
import { expectationOnBridge } from './check-on-bridge.ts'
import type { Edges } from './edges.ts'
import { resultMac, type Expectation, type Known, type Made } from './expectation.ts'
import { exposureOf } from './expose.ts'
import { mtusOf } from './made-mtus.ts'
import { checkNode, checkRulesets, IPV6_MIN_MTU_BYTES, observeNode } from './node.ts'
import { observeSettings, observeShapingOf } from './observe-plan.ts'

const LOOPBACK = parseIfName('lo')

/**
 * Verifies that everything ADD made is still there: both ends of the veth, addresses, routes, neighbours and settings, the
 * node's part, and the lease (SPEC 1.1.0, section 2, CHECK; checklist K1–K7).
 *
 * What prevResult shows of the pod's interface holds, not what we would choose: a later plugin of the chain may have given
 * it another hardware address or MTU (K4).
 *
 * @throws {CniError} code 106; its message names the first problem, its details all of them.
 */
export async function check(call: AttachmentCall, edges: Edges, by: Deadline): Promise<void> {
  const { prevResult } = call.network
  if (prevResult === undefined)
    throw new CniError(ErrorCode.invalidConfig, 'prevResult missing: CHECK needs the result of ADD')
  using kernel = edges.openKernel(requireNetns(call))
  const made = whatWasMade(call, prevResult)
  const wanted = await expectation(call, kernel, { made, prevResult, by })
  const { plan, bridge, addresses, exposure, forwarded, alsoWrong } = wanted
  const problems = [
    ...diffPlan(plan, { ...(await observe(kernel, plan, by)), bridge }).map(renderProblem),
    ...alsoWrong,
    ...(await checkNode(kernel, forwarded, by)),
    ...(await checkRulesets(kernel, exposure === undefined ? [] : rulesetsOf(exposure), by)),
    ...(await addressSource(call, edges).check(call, addresses, by)),
  ]
  const [first] = problems
  if (first === undefined) return
  const more = problems.length === 1 ? '' : ` (and ${problems.length - 1} more)`
  throw new CniError(ErrorCode.checkFailed, `${first}${more}`, { details: problems.join('\n') })
}

function whatWasMade({ attachment }: AttachmentCall, { interfaces }: Result): Made {
  const hostIfName = hostIfNameOf(attachment)
  const host = interfaces.find(({ name, sandbox }) => name === hostIfName && sandbox === undefined)
  const podIndex = interfaces.findIndex(({ name, sandbox }) => name === attachment.ifName && sandbox !== undefined)
  const pod = interfaces[podIndex]
  if (host === undefined || pod === undefined) {
    const missing = host === undefined ? hostIfName : attachment.ifName
    throw new CniError(
      ErrorCode.invalidConfig,
      `prevResult.interfaces has no ${missing}: it is not the result of this attachment`,
    )
  }
  return { host, pod, podIndex }
}

async function expectation(call: AttachmentCall, kernel: Kernel, known: Known): Promise<Expectation> {
  if (call.own.bridge !== undefined) return await expectationOnBridge(call, call.own.bridge, { kernel, ...known })
  const input = await transparentInput(call, kernel, known)
  const forwarded = [...new Set(input.addresses.map(({ family }) => family))]
  return { plan: planAttach(input), addresses: input.addresses, exposure: input.exposure, forwarded, alsoWrong: [] }
}

async function transparentInput(call: AttachmentCall, kernel: Kernel, known: Known): Promise<AttachInput> {
  const { made, prevResult, by } = known
  const { attachment, own } = call
  const hostIfName = hostIfNameOf(attachment)
  const podIfName = parseIfName(attachment.ifName)
  const { hostMtu, podMtu } = await mtusOf(kernel, { made, asked: own.mtuBytes, names: { hostIfName, podIfName }, by })
  const ours = prevResult.ips.filter(ip => ip.interfaceIndex === made.podIndex && isOurs(ip))
  // Without an address there would be little to verify, and all of it would be well.
  if (ours.length === 0)
    throw new CniError(ErrorCode.invalidConfig, `prevResult.ips has no address that ADD gave to ${podIfName}`)
  const addresses = ours.map(({ address }) => address.address)
  const facts = observeNode(
    kernel,
    addresses.map(({ family }) => family),
  )
  const exposure = exposureOf(call, { addresses, ports: portMappings(call.network) })
  return {
    attachment,
    hostIfName,
    hostMac: macOf(attachment, 'host'),
    podIfName,
    podMac: resultMac(made.pod) ?? macOf(attachment, 'pod'),
    mtuBytes: hostMtu ?? 0,
    ...(podMtu === undefined ? {} : { podMtuBytes: podMtu }),
    addresses,
    destinations: prevResult.routes
      .filter(({ dst, gw }) => gw !== undefined && equalAddresses(gw, gatewayOf(dst.address.family)))
      .map(({ dst }) => dst),
    viaHost: [],
    hostHasIpv6: facts.hasIpv6 && (hostMtu ?? 0) >= IPV6_MIN_MTU_BYTES,
    hostDisablesIpv6: facts.disablesIpv6,
    podDisablesIpv6: facts.podDisablesIpv6,
    ...(exposure === undefined ? {} : { exposure }),
    ...(own.bandwidth === undefined ? {} : { bandwidth: own.bandwidth }),
  }
}

/** A later plugin of the chain may have given the same interface addresses of its own (K4): its gateway is not ours. */
function isOurs({ address, gateway }: ResultIp): boolean {
  return gateway !== undefined && equalAddresses(gateway, gatewayOf(address.address.family))
}

/** Reads all that `plan` speaks of. */
async function observe(kernel: Kernel, plan: Plan, by: Deadline): Promise<ObservedState> {
  const veth = plan.find(operation => operation.do === 'add-veth')
  if (veth === undefined) throw new Error('a plan to attach makes a veth pair')
  const exposing = plan.find(operation => operation.do === 'add-elements')
  return {
    ...(exposing === undefined ? {} : { elements: await kernel.observeElements(exposing.owner, by) }),
    host: await kernel.observeInterface('host', veth.hostIfName, by),
    pod: await kernel.observeInterface('pod', veth.podIfName, by),
    podLoopback: await kernel.observeLink('pod', LOOPBACK, by),
    ...(await observeShapingOf(kernel, plan, by)),
    settings: observeSettings(kernel, plan),
  }
}

import { askedMac } from '../cni/asked-mac.ts'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { portMappings } from '../cni/port-mappings.ts'
import { resolverSettings } from '../cni/tulle-configuration.ts'
import type { Result } from '../cni/result.ts'
import { equalAddresses } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import { hostIfNameOf, macOf } from '../plan/link-names.ts'
import type { Kernel } from '../plan/kernel.ts'
import { gatewayOf, planAttach, type AttachInput } from '../plan/plan-attach.ts'
import type { Deadline } from '../time/deadline.ts'
import { addToBridge, type ToWire, type Wiring } from './add-to-bridge.ts'
import { addressSource, type AddressSource } from './address-source.ts'
import type { AttachmentCall } from './call.ts'
import type { Edges } from './edges.ts'
import { applyWith, exposureOf } from './expose.ts'
import { detach } from './del.ts'
import { leaseWish, type LeaseWish } from './lease-wish.ts'
import { clearLeftovers } from './leftovers.ts'
import { deriveMtuBytes, IPV6_MIN_MTU_BYTES, observeNode, prepareNode, refuseSmallMtu } from './node.ts'
import { attachResult } from './attach-result.ts'
import { messageOf } from './message.ts'

/** What giving the lease back gets after a failure, beyond the deadline that ADD ran into, in milliseconds. */
const RELEASE_GRACE_MS = 5_000

/**
 * Attaches the container to the network (SPEC 1.1.0, section 2, ADD).
 *
 * The lease survives every process before the interface is made, and a loss of power before ADD answers (invariant 2): a machine that
 * loses its power has no interfaces. It is given back when the interface could not be made: after a failure nothing is left
 * (checklist A8, A9). The failure that is thrown is the first one.
 */
export async function add(call: AttachmentCall, edges: Edges, by: Deadline): Promise<Result> {
  // Read before anything is made: what fails here changes nothing (invariant 8).
  const wish = wishOf(call)
  const ownDns = resolverSettings(call.network)
  const podMac = askedMac(call.network, call.invocation.args) ?? macOf(call.attachment, 'pod')
  const ports = portMappings(call.network)
  const { attachment } = call
  const netnsPath = requireNetns(call)
  using kernel = edges.openKernel(netnsPath)
  if (kernel.podIsHost && !call.invocation.netnsOverride) {
    throw new CniError(ErrorCode.invalidNetns, `CNI_NETNS ${netnsPath} is the namespace of the plugin itself`)
  }
  using _lock = await edges.lock(attachment, by)
  const hostIfName = hostIfNameOf(attachment)
  const podIfName = parseIfName(attachment.ifName)
  const source = addressSource(call, edges)
  const isOwnAttempt = await wasGrantedToThisCall(call, source, by)
  const isShaped = call.own.bandwidth !== undefined
  const names = { attachment, hostIfName, podIfName, netnsPath, isOwnAttempt, isShaped }
  const room = clearLeftovers(kernel, names, { edges, by })
  // The kernel is looked at while the lease is stored.
  const [cleared, derived, leased] = await Promise.allSettled([
    room,
    call.own.mtuBytes ?? deriveMtuBytes(kernel, by),
    source.isIdempotent
      ? source.allocate({ ...call, wish }, by)
      : room.then(() => source.allocate({ ...call, wish }, by)),
  ])
  try {
    valueOf(cleared)
    const granted = valueOf(leased)
    const mtuBytes = valueOf(derived)
    const exposure = exposureOf(call, { addresses: granted.addresses, ports })
    const wiring: Wiring = { granted, podMac, mtuBytes, exposure, edges, by }
    const context = { network: call.network, netnsPath, dns: granted.dns, ownDns }
    const result = await wire(call, { kernel, ...wiring, context })
    await granted.whenDurable()
    return result
  } catch (failure) {
    const grace = by.extended(RELEASE_GRACE_MS)
    await orLog(edges, async () => {
      if (cleared.status === 'rejected') {
        // There may be an interface in use: what the attachment had before this call stays (D5).
        if (leased.status === 'fulfilled' && leased.value.isNew) await source.release(call, grace)
        return
      }
      // Also when nothing was granted: a source whose answer was lost, or cannot be used, may have leased (A8). Undoing has
      // removed the interface already, as a rule. While it is there its address stays leased (invariant 2).
      await detach(kernel, attachment, { edges, by: grace })
      await source.release(call, grace)
    })
    throw failure
  }
}

async function wire(call: AttachmentCall, on: ToWire): Promise<Result> {
  if (call.own.bridge !== undefined) return await addToBridge(call, call.own.bridge, on)
  const input = await attachInput(call, on.kernel, on)
  await applyWith(on.kernel, planAttach(input), on)
  return attachResult(input, on.context)
}

function valueOf<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === 'rejected') throw settled.reason
  return settled.value
}

/**
 * True when the attachment's addresses were leased for this very call, by another host whose answer was lost. Then an interface
 * that is there, whole, is that host's work, and makes room: this one answers the same, from the same lease. One that is older
 * than the call is in use.
 */
async function wasGrantedToThisCall(call: AttachmentCall, source: AddressSource, by: Deadline): Promise<boolean> {
  if (call.askedAtUnixMs === undefined) return false
  const grantedAtUnixMs = await source.grantedAtUnixMs(call, by)
  return grantedAtUnixMs !== undefined && grantedAtUnixMs >= call.askedAtUnixMs
}

/** ADD and CHECK cannot do without the namespace; the invocation's parser has seen to it. */
export function requireNetns({ invocation }: AttachmentCall): string {
  if (invocation.netnsPath !== undefined) return invocation.netnsPath
  throw new CniError(ErrorCode.invalidEnvironment, 'required env variables [CNI_NETNS] missing')
}

/** Another IPAM plugin answers itself for what is asked of it. */
function wishOf({ network, own, invocation }: AttachmentCall): LeaseWish {
  return own.ipam.kind === 'tulle' ? leaseWish({ network, ipam: own.ipam, args: invocation.args }) : {}
}

async function attachInput(call: AttachmentCall, kernel: Kernel, more: Wiring): Promise<AttachInput> {
  const { granted, podMac, mtuBytes, exposure, edges, by } = more
  const { attachment, own } = call
  const families = granted.addresses.map(address => address.family)
  refuseSmallMtu({ mtuBytes, isAsked: own.mtuBytes !== undefined, families })
  const facts = observeNode(kernel, families)
  await prepareNode(kernel, { families, facts, log: line => edges.log(line), by })
  return {
    attachment,
    hostIfName: hostIfNameOf(attachment),
    hostMac: macOf(attachment, 'host'),
    podIfName: parseIfName(attachment.ifName),
    podMac,
    mtuBytes,
    addresses: granted.addresses,
    ...(granted.destinations === undefined ? {} : { destinations: granted.destinations }),
    // The gateway has its route already, and a second one would be refused.
    viaHost: own.ipsToRouteViaHost.filter(address => !equalAddresses(address, gatewayOf(address.family))),
    // A link with a smaller MTU has no IPv6 settings that could be set.
    hostHasIpv6: facts.hasIpv6 && mtuBytes >= IPV6_MIN_MTU_BYTES,
    hostDisablesIpv6: facts.disablesIpv6,
    podDisablesIpv6: facts.podDisablesIpv6,
    ...(exposure === undefined ? {} : { exposure }),
    ...(own.bandwidth === undefined ? {} : { bandwidth: own.bandwidth }),
  }
}

/** A second failure is logged: the one that the runtime has to see is the first. */
async function orLog(edges: Edges, giveBack: () => Promise<void>): Promise<void> {
  try {
    await giveBack()
  } catch (failure) {
    edges.log(`the lease is not given back: ${messageOf(failure)}`)
  }
}

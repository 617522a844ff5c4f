import type { AttachmentKey } from '../ipam/attachment.ts'
import type { Bandwidth, RateLimit } from '../net/bandwidth.ts'
import type { IfName } from '../net/if-name.ts'
import { ifbNameOf } from './link-names.ts'
import type { AddShaper, Plan, Shaper } from './operation.ts'
import { formatOwner } from './owner.ts'

/** The longest frame beside its MTU: an Ethernet header with a VLAN tag. */
const FRAME_HEADER_BYTES = 18
/** The largest packet that the stack hands over in one piece, to be cut later. */
const MIN_BURST_BYTES = 65_536
/** A chosen burst lasts this long at full rate: longer than a timer of the kernel, shorter than anybody notices. */
const BURST_MS = 20
/** How long a packet may wait before it is dropped, as with the reference plugin bandwidth. */
const LATENCY_MS = 25
const MAX_U32 = 0xffff_ffff

/** Everything that decides how a pod's traffic is limited. */
export interface BandwidthInput {
  readonly attachment: AttachmentKey
  readonly hostIfName: IfName
  readonly mtuBytes: number
  /** False where the node's kernel runs without IPv6: then nothing of it may be set. */
  readonly hostHasIpv6: boolean
  readonly bandwidth: Bandwidth
}

/**
 * Plans the limits of a pod. What goes to the pod waits at the host-side veth. What comes from it cannot wait where it
 * arrives: the kernel queues only what leaves a link, so it is led through a link of its own (ifb), which it leaves.
 *
 * Comes after the host-side veth is made and before the pod's end is up: no packet passes without a limit.
 */
export function planBandwidth({ attachment, hostIfName, mtuBytes, hostHasIpv6, bandwidth }: BandwidthInput): Plan {
  const { toPod, fromPod } = bandwidth
  return [
    ...(toPod === undefined ? [] : [shape(hostIfName, toPod, mtuBytes)]),
    ...(fromPod === undefined ? [] : planFromPod({ attachment, hostIfName, mtuBytes, hostHasIpv6, limit: fromPod })),
  ]
}

function planFromPod(input: Omit<BandwidthInput, 'bandwidth'> & { readonly limit: RateLimit }): Plan {
  const { attachment, hostIfName, mtuBytes, limit } = input
  const link = ifbNameOf(attachment)
  return [
    { do: 'add-ifb', at: 'host', link, mtuBytes },
    ...(input.hostHasIpv6 ? [{ do: 'disable-link-local', at: 'host', link } as const] : []),
    { do: 'set-link', at: 'host', link, alias: formatOwner({ attachment, isComplete: true }), up: true },
    shape(link, limit, mtuBytes),
    { do: 'redirect-ingress', at: 'host', link: hostIfName, to: link },
  ]
}

function shape(link: IfName, limit: RateLimit, mtuBytes: number): AddShaper {
  return { do: 'add-shaper', at: 'host', link, ...shaperOf(limit, mtuBytes) }
}

/**
 * The token bucket of a limit (R37). A burst that was not asked for lasts some milliseconds; one that was asked for is never so
 * small that no full frame would pass.
 */
export function shaperOf({ bitsPerSecond, burstBits }: RateLimit, mtuBytes: number): Shaper {
  const bytesPerSecond = Math.floor(bitsPerSecond / 8)
  const burstBytes =
    burstBits === undefined
      ? Math.max(MIN_BURST_BYTES, Math.ceil((bytesPerSecond * BURST_MS) / 1000))
      : Math.max(mtuBytes + FRAME_HEADER_BYTES, Math.floor(burstBits / 8))
  const limitBytes = burstBytes + Math.ceil((bytesPerSecond * LATENCY_MS) / 1000)
  return { bytesPerSecond, burstBytes: Math.min(burstBytes, MAX_U32), limitBytes: Math.min(limitBytes, MAX_U32) }
}

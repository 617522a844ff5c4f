import type { CniArgs } from '../cni/cni-args.ts'
import type { NetworkConfiguration } from '../cni/configuration.ts'
import { CniError, ErrorCode } from '../cni/errors.ts'
import { readPodAnnotations } from '../cni/pod-annotations.ts'
import { requestedAddresses } from '../cni/requested-addresses.ts'
import { requestedRanges } from '../cni/requested-ranges.ts'
import type { TulleIpam } from '../cni/tulle-configuration.ts'
import type { AllocateRequest } from '../ipam/protocol.ts'

/** What a lease has to be like, as the configuration, the runtime and the pod ask for it. */
export type LeaseWish = Pick<AllocateRequest, 'pool' | 'pod' | 'addresses' | 'within' | 'owner' | 'stickySeconds'>

/** Who asks, and in which words. */
export interface Wishing {
  readonly network: NetworkConfiguration
  readonly ipam: Pick<TulleIpam, 'pool' | 'stickySeconds'>
  readonly args: CniArgs
}

/**
 * What to ask of ipamd for this attachment. The pod's annotations come before the configuration; addresses have an order of
 * their own (requestedAddresses). The owner is the pod, "namespace/name": the next container of that name gets what is reserved
 * for it, and what was kept for it (R33).
 *
 * @throws {CniError} code 7 with path, value and what is wanted.
 */
export function leaseWish({ network, ipam, args }: Wishing): LeaseWish {
  const annotations = readPodAnnotations(network)
  const { pod } = args
  const pool = annotations.pool ?? ipam.pool
  const addresses = requestedAddresses({ network, annotations, args })
  const within = requestedRanges(network)
  if (annotations.stickySeconds !== undefined && pod === undefined) throw ownerless(annotations.stickySeconds)
  // What the configuration says is for pods that have a name; others have nothing that an address could be kept for.
  const stickySeconds = pod === undefined ? undefined : (annotations.stickySeconds ?? ipam.stickySeconds)
  return {
    ...(pool === undefined ? {} : { pool }),
    ...(pod === undefined ? {} : { pod, owner: `${pod.namespace}/${pod.name}` }),
    ...(addresses.length === 0 ? {} : { addresses }),
    ...(within.length === 0 ? {} : { within }),
    ...(stickySeconds ? { stickySeconds } : {}),
  }
}

function ownerless(seconds: number): CniError {
  return new CniError(
    ErrorCode.invalidConfig,
    `Cannot keep addresses for ${seconds} s as pod annotation tulle.dev/sticky asks: want K8S_POD_NAMESPACE and K8S_POD_NAME in CNI_ARGS`,
  )
}

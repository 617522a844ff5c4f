import type { NetworkConfiguration } from '../cni/configuration.ts'
import type { Invocation } from '../cni/invocation.ts'
import type { TulleConfiguration } from '../cni/tulle-configuration.ts'
import type { AttachmentKey } from '../ipam/attachment.ts'

type AttachmentInvocation = Extract<Invocation, { command: 'ADD' | 'CHECK' | 'DEL' }>

/** One run of a verb: what the runtime said, parsed. */
export interface Call {
  readonly network: NetworkConfiguration
  readonly own: TulleConfiguration
  readonly cniPath: readonly string[]
  /**
   * When this very call was given to another host of the engine whose answer was lost: that host may have done it. Undefined
   * when this host is the first to try.
   */
  readonly askedAtUnixMs: number | undefined
}

/** A run of ADD, CHECK or DEL. */
export interface AttachmentCall extends Call {
  readonly invocation: AttachmentInvocation
  readonly attachment: AttachmentKey
}

/** The attachment that `invocation` names on `network`. */
export function attachmentOf(network: NetworkConfiguration, invocation: AttachmentInvocation): AttachmentKey {
  return { network: network.name, containerId: invocation.containerId, ifName: invocation.ifName }
}

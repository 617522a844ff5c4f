import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Address } from '../../lib/net/address.ts'

/** That an attachment has addresses, as something else than the lease store says it. */
export interface LeaseMark {
  readonly attachment: AttachmentKey
  readonly addresses: readonly Address[]
}

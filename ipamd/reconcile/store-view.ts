import { equalAttachments, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import type { Address } from '../../lib/net/address.ts'
import type { Prefix } from '../../lib/net/prefix.ts'
import type { LeaseOrigin } from '../store/lease-origin.ts'
import { readAttachment, readBlocks, readOrigin, readOrigins } from '../store/read-origins.ts'
import type { StoreReader } from '../store/store-reader.ts'

/** What is durable, as the reconciler reads it. Every method throws a StoreError when the store can't be read. */
export interface StoreView {
  /** The next leases after the one of that id, oldest first. */
  readonly origins: (afterId: number, limit: number) => readonly LeaseOrigin[]
  readonly origin: (attachment: AttachmentKey) => LeaseOrigin | undefined
  /** Who has the lease of that id; undefined when it has ended. */
  readonly attachmentOf: (id: number) => AttachmentKey | undefined
  readonly leaseOf: (attachment: AttachmentKey) => Lease | undefined
  readonly holderOf: (address: Address) => AttachmentKey | undefined
  readonly blocks: () => readonly Prefix[]
}

export function storeView(reader: StoreReader): StoreView {
  return {
    origins: (afterId, limit) => readOrigins(reader, { afterId, limit }),
    origin: attachment => readOrigin(reader, attachment),
    attachmentOf: id => readAttachment(reader, id),
    leaseOf: attachment =>
      reader
        .leases({ ...attachment, limit: 1, after: 0 })
        .leases.find(lease => equalAttachments(lease.attachment, attachment)),
    holderOf: address => reader.leases({ address, limit: 1, after: 0 }).leases[0]?.attachment,
    blocks: () => readBlocks(reader),
  }
}

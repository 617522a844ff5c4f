import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import type { Address } from '../../lib/net/address.ts'

/** The leases that are stored, looked up one at a time. Every method may throw what keeps it from reading. */
export interface LeaseSource {
  get(attachment: AttachmentKey): Lease | undefined
  holderOf(address: Address): AttachmentKey | undefined
  /** Those with a lease in the network; in any, without one. */
  attachments(network: string | undefined): Iterable<AttachmentKey>
}

/** Of a store without a lease. */
export const NO_LEASES: LeaseSource = { get: () => undefined, holderOf: () => undefined, attachments: () => [] }

/** Somebody's interest in whether a lease stays as it is. */
export interface LeaseWatch {
  readonly lease: Lease
}

/**
 * The leases by attachment: what is stored, with what was decided since. They are not kept in memory: a decision asks for one or
 * two of them, and 60,000 take thirty megabytes.
 */
export class LeaseTable {
  readonly #stored: LeaseSource
  /** By attachment. Undefined: released. */
  readonly #changed = new Map<string, { readonly attachment: AttachmentKey; readonly lease: Lease | undefined }>()
  readonly #watches = new Map<string, LeaseWatch>()

  constructor(stored: LeaseSource) {
    this.#stored = stored
  }

  get(attachment: AttachmentKey): Lease | undefined {
    const changed = this.#changed.get(attachmentKeyText(attachment))
    return changed === undefined ? this.#stored.get(attachment) : changed.lease
  }

  /** Who has the address. */
  holderOf(address: Address): AttachmentKey | undefined {
    for (const { attachment, lease } of this.#changed.values()) {
      if (lease?.addresses.some(each => isSame(each.address, address)) === true) return attachment
    }
    const holder = this.#stored.holderOf(address)
    return holder === undefined || this.#changed.has(attachmentKeyText(holder)) ? undefined : holder
  }

  /** Those with a lease in the network; in any, without one. In no order. */
  *attachments(network?: string): Generator<AttachmentKey, void> {
    for (const { attachment, lease } of this.#changed.values()) {
      if (lease !== undefined && (network === undefined || attachment.network === network)) yield attachment
    }
    for (const attachment of this.#stored.attachments(network)) {
      if (this.#changed.size === 0 || !this.#changed.has(attachmentKeyText(attachment))) yield attachment
    }
  }

  /** Adds the lease, in place of an older one of its attachment. */
  set(lease: Lease): void {
    this.#change(lease.attachment, lease)
  }

  /** Removes the lease of the attachment, if it has one. */
  delete(attachment: AttachmentKey): void {
    this.#change(attachment, undefined)
  }

  #change(attachment: AttachmentKey, lease: Lease | undefined): void {
    const key = attachmentKeyText(attachment)
    this.#changed.set(key, { attachment, lease })
    this.#watches.delete(key)
  }

  /** Has to be called when all changes are stored: from now on they are read from there. */
  settle(): void {
    this.#changed.clear()
  }

  /** Watches the lease of the attachment, if it has one, in place of whoever did so before. To be ended with unwatch(). */
  watch(attachment: AttachmentKey): LeaseWatch | undefined {
    const lease = this.get(attachment)
    if (lease === undefined) return undefined
    const watch = { lease }
    this.#watches.set(attachmentKeyText(attachment), watch)
    return watch
  }

  /** True when the lease was neither changed nor touched since. */
  isUntouched(watch: LeaseWatch): boolean {
    return this.#watches.get(attachmentKeyText(watch.lease.attachment)) === watch
  }

  /** To be called when somebody relies on the lease again. */
  touch(attachment: AttachmentKey): void {
    this.#watches.delete(attachmentKeyText(attachment))
  }

  unwatch(watch: LeaseWatch): void {
    if (this.isUntouched(watch)) this.touch(watch.lease.attachment)
  }
}

function isSame(a: Address, b: Address): boolean {
  return a.family === b.family && a.value === b.value
}

import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'

/**
 * The leases by attachment. There are many containers, and few networks and interface names: a map for each pair of those, by
 * container, needs no text of the whole attachment for each lease, which would be a fifth of what a lease takes.
 */
export class LeaseTable {
  readonly #networks = new Map<string, Map<string, Map<string, Lease>>>()
  #size = 0

  get size(): number {
    return this.#size
  }

  get({ network, containerId, ifName }: AttachmentKey): Lease | undefined {
    return this.#networks.get(network)?.get(ifName)?.get(containerId)
  }

  /** Adds the lease, in place of an older one of its attachment. */
  set(lease: Lease): void {
    const { network, containerId, ifName } = lease.attachment
    const interfaces = this.#networks.get(network) ?? new Map<string, Map<string, Lease>>()
    const containers = interfaces.get(ifName) ?? new Map<string, Lease>()
    if (!containers.has(containerId)) this.#size += 1
    containers.set(containerId, lease)
    interfaces.set(ifName, containers)
    this.#networks.set(network, interfaces)
  }

  /** Removes the lease of the attachment, if it has one. */
  delete({ network, containerId, ifName }: AttachmentKey): void {
    const interfaces = this.#networks.get(network)
    const containers = interfaces?.get(ifName)
    if (interfaces === undefined || containers?.delete(containerId) !== true) return
    this.#size -= 1
    if (containers.size === 0) interfaces.delete(ifName)
    if (interfaces.size === 0) this.#networks.delete(network)
  }

  *values(): Generator<Lease, void> {
    for (const interfaces of this.#networks.values()) {
      for (const containers of interfaces.values()) yield* containers.values()
    }
  }
}

import type { Lease } from '../../lib/ipam/lease.ts'
import type { Snapshot, StoredFreedAddress } from '../allocator/snapshot.ts'

/** What a store holds, read at once. */
export interface Contents extends Omit<Snapshot, 'leases' | 'freed'> {
  readonly leases: readonly Lease[]
  readonly freed: readonly StoredFreedAddress[]
}

/** For tests: everything that the store holds now, the leases in the order of their attachments. */
export function contentsOf(store: { load(): Snapshot }): Contents {
  const { leases, freed, ...others } = store.load()
  const attachments = [...leases.attachments(undefined)]
  return {
    ...others,
    leases: attachments.map(each => leases.get(each)).filter(lease => lease !== undefined),
    freed: [...freed],
  }
}

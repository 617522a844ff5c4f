import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Lease, LeasedAddress } from '../../lib/ipam/lease.ts'
import { addressFromBytes, addressToBytes, type Address } from '../../lib/net/address.ts'
import { parsePrefix } from '../../lib/net/prefix.ts'
import type { LeaseSource } from '../allocator/lease-table.ts'
import { gatewayOf } from '../allocator/pool.ts'
import { attachmentIn, bytesIn, keepIn, numberIn, textIn, type Row } from './row.ts'

/** Does what reads, and says of which store it is when that fails. */
type Reading = <T>(body: () => T) => T

/** Reads leases from the store, one at a time. Every method throws what `reading` makes of a failure. */
export class StoredLeases implements LeaseSource {
  readonly #reading: Reading
  readonly #get: StatementSync
  readonly #holder: StatementSync
  readonly #all: StatementSync
  readonly #ofNetwork: StatementSync

  constructor(database: DatabaseSync, reading: Reading) {
    this.#reading = reading
    this.#get = database.prepare(
      `SELECT lease.pool, leased_at_unix_ms, owner, sticky_seconds, address, block.prefix
       FROM lease JOIN lease_address ON lease_address.lease = lease.id JOIN block ON block.id = lease_address.block
       WHERE network = ? AND container_id = ? AND if_name = ? ORDER BY lease_address.family`,
    )
    this.#holder = database.prepare(
      `SELECT network, container_id, if_name FROM lease_address JOIN lease ON lease.id = lease_address.lease
       WHERE address = ?`,
    )
    // Both are answered by the index of attachments alone.
    this.#all = database.prepare('SELECT network, container_id, if_name FROM lease')
    this.#ofNetwork = database.prepare('SELECT network, container_id, if_name FROM lease WHERE network = ?')
  }

  get({ network, containerId, ifName }: AttachmentKey): Lease | undefined {
    return this.#reading(() => {
      const rows = this.#get.all(network, containerId, ifName)
      const [first] = rows
      if (first === undefined) return undefined
      return {
        attachment: { network, containerId, ifName },
        pool: textIn(first, 'pool'),
        addresses: rows.map(leasedAddressIn),
        leasedAtUnixMs: numberIn(first, 'leased_at_unix_ms'),
        ...keepIn(first),
      }
    })
  }

  holderOf(address: Address): AttachmentKey | undefined {
    return this.#reading(() => {
      const row = this.#holder.get(addressToBytes(address))
      return row && attachmentIn(row)
    })
  }

  attachments(network: string | undefined): readonly AttachmentKey[] {
    return this.#reading(() => {
      const rows = network === undefined ? this.#all.iterate() : this.#ofNetwork.iterate(network)
      return Array.from(rows, attachmentIn)
    })
  }
}

/** One address of a lease, from a row with `address` and the `prefix` of its block. */
export function leasedAddressIn(row: Row): LeasedAddress {
  const block = parsePrefix(textIn(row, 'prefix'))
  const gateway = gatewayOf(block)
  const address = addressFromBytes(bytesIn(row, 'address'))
  return { address, block, ...(gateway === undefined ? {} : { gateway }) }
}

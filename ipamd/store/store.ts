import type { DatabaseSync } from 'node:sqlite'
import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import type { PodReference } from '../../lib/ipam/protocol.ts'
import { addressToBytes } from '../../lib/net/address.ts'
import { firstAddress, formatPrefix, lastAddress } from '../../lib/net/prefix.ts'
import type { LeaseEvent, ReleaseReason } from '../allocator/events.ts'
import type { Snapshot, TakenBlock } from '../allocator/state.ts'
import type { BootFacts } from './boot-facts.ts'
import { loadSnapshot } from './load-snapshot.ts'
import { openDatabase } from './open-database.ts'
import { STORE_VERSION } from './schema.ts'
import { StoreError } from './store-error.ts'

/** The durable record of blocks, leases and freed addresses. */
export interface Store {
  /** What is stored now. @throws {StoreError} */
  load(): Snapshot
  /** Stores all the events, or none of them. They are durable when this returns. @throws {StoreError} */
  commit(events: readonly LeaseEvent[]): void
  /** Writes, without a change, to see whether writing works. @throws {StoreError} */
  probe(): void
  /** Closes the store. What was written is moved into the main file, unless somebody reads the store just now. */
  close(): void
}

/** The store as an SQLite file in WAL mode. Only one process may have it open: the caller holds the lock of its folder. */
export class SqliteStore implements Store {
  readonly #path: string
  readonly #boot: BootFacts
  readonly #database: DatabaseSync
  readonly #statements: Statements

  /** @throws {StoreError} naming the file, when it is no lease store or is of an unknown version. */
  constructor(path: string, boot: BootFacts) {
    this.#path = path
    this.#boot = boot
    this.#database = openDatabase(path)
    try {
      this.#statements = prepare(this.#database)
    } catch (cause) {
      this.#database.close()
      throw this.#failure('open', cause)
    }
  }

  load(): Snapshot {
    try {
      return loadSnapshot(this.#database)
    } catch (cause) {
      throw this.#failure('read', cause)
    }
  }

  commit(events: readonly LeaseEvent[]): void {
    this.#transaction(() => {
      for (const event of events) this.#store(event)
    })
  }

  probe(): void {
    this.#transaction(() => this.#database.exec(`PRAGMA user_version = ${STORE_VERSION}`))
  }

  close(): void {
    try {
      // Not waiting for readers: what stays in the log is durable there, and is read at the next start.
      this.#database.exec('PRAGMA busy_timeout = 0; PRAGMA wal_checkpoint(TRUNCATE)')
    } finally {
      this.#database.close()
    }
  }

  #transaction(body: () => void): void {
    try {
      this.#database.exec('BEGIN IMMEDIATE')
      body()
      this.#database.exec('COMMIT')
    } catch (cause) {
      // A failed COMMIT may have ended the transaction already.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw this.#failure('write', cause)
    }
  }

  #failure(verb: string, cause: unknown): StoreError {
    return new StoreError(`Cannot ${verb} lease store ${this.#path}: ${(cause as Error).message}`, { cause })
  }

  #store(event: LeaseEvent): void {
    switch (event.type) {
      case 'block-taken':
        return this.#storeBlock(event, event.atUnixMs)
      case 'leased':
        return this.#storeLease(event.lease, event.pod)
      case 'released':
        return this.#storeRelease(event.lease, event)
    }
  }

  #storeBlock({ pool, prefix }: TakenBlock, atUnixMs: number): void {
    const text = formatPrefix(prefix)
    const first = addressToBytes(firstAddress(prefix))
    const last = addressToBytes(lastAddress(prefix))
    this.#statements.insertBlock.run(pool, prefix.address.family, text, first, last, atUnixMs)
    this.#statements.insertBlockEvent.run(atUnixMs, pool, text)
  }

  #storeLease(lease: Lease, pod: PodReference | undefined): void {
    const { bootId, initStartTicks, hostNetnsInode } = this.#boot
    const { lastInsertRowid: id } = this.#statements.insertLease.run(
      ...keyOf(lease.attachment),
      lease.pool,
      lease.leasedAtUnixMs,
      pod?.namespace ?? null,
      pod?.name ?? null,
      pod?.uid ?? null,
      bootId,
      initStartTicks,
      hostNetnsInode,
    )
    for (const { address, block } of lease.addresses) {
      const bytes = addressToBytes(address)
      this.#statements.deleteFreed.run(bytes)
      this.#statements.insertAddress.run(bytes, id, address.family, formatPrefix(block))
    }
    this.#statements.insertLeaseEvents.run(lease.leasedAtUnixMs, 'leased', null, id)
  }

  #storeRelease(lease: Lease, { atUnixMs, reason }: { atUnixMs: number; reason: ReleaseReason }): void {
    const row = this.#statements.findLease.get(...keyOf(lease.attachment))
    const id = row?.['id']
    if (typeof id !== 'number') throw new Error(`no lease of ${keyOf(lease.attachment).join('/')}`)
    this.#statements.insertLeaseEvents.run(atUnixMs, 'released', reason, id)
    this.#statements.deleteAddresses.run(id)
    this.#statements.deleteLease.run(id)
    for (const { address, block } of lease.addresses) {
      this.#statements.insertFreed.run(addressToBytes(address), formatPrefix(block), atUnixMs)
    }
  }
}

function keyOf({ network, containerId, ifName }: AttachmentKey): [string, string, string] {
  return [network, containerId, ifName]
}

type Statements = ReturnType<typeof prepare>

function prepare(database: DatabaseSync) {
  return {
    insertBlock: database.prepare(
      'INSERT INTO block (pool, family, prefix, first_address, last_address, taken_at_unix_ms) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    insertBlockEvent: database.prepare(
      "INSERT INTO event (at_unix_ms, kind, pool, block) VALUES (?, 'block-taken', ?, ?)",
    ),
    insertLease: database.prepare(
      `INSERT INTO lease (network, container_id, if_name, pool, leased_at_unix_ms, pod_namespace, pod_name, pod_uid,
         boot_id, init_start_ticks, host_netns_inode) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    insertAddress: database.prepare(
      'INSERT INTO lease_address (address, lease, family, block) VALUES (?, ?, ?, (SELECT id FROM block WHERE prefix = ?))',
    ),
    insertLeaseEvents: database.prepare(
      `INSERT INTO event (at_unix_ms, kind, reason, pool, block, address, network, container_id, if_name,
         pod_namespace, pod_name, pod_uid)
       SELECT ?, ?, ?, lease.pool, block.prefix, lease_address.address, lease.network, lease.container_id, lease.if_name,
         lease.pod_namespace, lease.pod_name, lease.pod_uid
       FROM lease JOIN lease_address ON lease_address.lease = lease.id JOIN block ON block.id = lease_address.block
       WHERE lease.id = ? ORDER BY lease_address.family`,
    ),
    findLease: database.prepare('SELECT id FROM lease WHERE network = ? AND container_id = ? AND if_name = ?'),
    deleteAddresses: database.prepare('DELETE FROM lease_address WHERE lease = ?'),
    deleteLease: database.prepare('DELETE FROM lease WHERE id = ?'),
    deleteFreed: database.prepare('DELETE FROM freed_address WHERE address = ?'),
    insertFreed: database.prepare(
      'INSERT INTO freed_address (address, block, freed_at_unix_ms) VALUES (?, (SELECT id FROM block WHERE prefix = ?), ?)',
    ),
  }
}

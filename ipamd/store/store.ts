import type { DatabaseSync } from 'node:sqlite'
import type { AttachmentKey } from '../../lib/ipam/attachment.ts'
import { addressToBytes, formatAddress } from '../../lib/net/address.ts'
import { firstAddress, formatPrefix, lastAddress } from '../../lib/net/prefix.ts'
import type { LeaseEvent, PodCidrsHandedOver, StoredChange } from '../allocator/events.ts'
import type { Reservation } from '../allocator/reservation.ts'
import type { Snapshot } from '../allocator/snapshot.ts'
import type { TakenBlock } from '../allocator/state.ts'
import type { BootFacts } from './boot-facts.ts'
import { loadSnapshot } from './load-snapshot.ts'
import { LogSync } from './log-sync.ts'
import { openDatabase } from './open-database.ts'
import { STORE_VERSION } from './schema.ts'
import { StoreError } from './store-error.ts'
import { StoredLeases } from './stored-leases.ts'

/** The durable record of blocks, leases and freed addresses. */
export interface Store {
  /** What is stored now. @throws {StoreError} */
  load(): Snapshot
  /**
   * Stores all the events, or none of them. When this returns they survive the end of the process, however it ends, and are about
   * to survive the machine's, see whenDurable(). @throws {StoreError}
   */
  commit(events: readonly StoredChange[]): void
  /** Resolves when all that was committed until now would survive a loss of power. @throws {StoreError} then, and ever after. */
  whenDurable(): Promise<void>
  /** Writes, without a change, to see whether writing works. @throws {StoreError} */
  probe(): void
  /** When the first of the events that are kept happened, by the clock of then; undefined when there is none. @throws {StoreError} */
  oldestEventUnixMs(): number | undefined
  /**
   * Forgets events that are too old or too many, a bounded number of them.
   *
   * @returns True when there may be more. @throws {StoreError}
   */
  trimEvents(bounds: EventBounds): boolean
  /** Closes the store. What was written is moved into the main file, unless somebody reads the store just now. */
  close(): void
}

/** Which events are kept. */
export interface EventBounds {
  /** Those before this moment are forgotten. */
  readonly beforeUnixMs: number
  /** Those that exceed this number are forgotten, oldest first. */
  readonly maxRows: number
}

// A step of some milliseconds: the writer does nothing else meanwhile.
const TRIM_ROWS = 1000

/** The store as an SQLite file in WAL mode. Only one process may have it open: the caller holds the lock of its folder. */
export class SqliteStore implements Store {
  readonly #path: string
  readonly #boot: BootFacts
  readonly #database: DatabaseSync
  readonly #statements: Statements
  readonly #leases: StoredLeases
  /** Of SQLite's log, in which each commit is; undefined in memory. */
  readonly #log: LogSync | undefined
  #lost: StoreError | undefined

  /** @throws {StoreError} naming the file, when it is no lease store or is of an unknown version. */
  constructor(path: string, boot: BootFacts) {
    this.#path = path
    this.#boot = boot
    this.#database = openDatabase(path)
    this.#log = this.#database.location() === null ? undefined : new LogSync(`${path}-wal`)
    try {
      this.#statements = prepare(this.#database)
      this.#leases = new StoredLeases(this.#database, body => this.#read(body))
    } catch (cause) {
      this.#database.close()
      throw this.#failure('open', cause)
    }
  }

  load(): Snapshot {
    return this.#read(() => {
      const snapshot = loadSnapshot(this.#database, { leases: this.#leases, bootId: this.#boot.bootId })
      return { ...snapshot, freed: { [Symbol.iterator]: () => this.#readEach(snapshot.freed) } }
    })
  }

  *#readEach<T>(items: Iterable<T>): Generator<T, void> {
    try {
      yield* items
    } catch (cause) {
      throw this.#failure('read', cause)
    }
  }

  #read<T>(body: () => T): T {
    try {
      return body()
    } catch (cause) {
      throw this.#failure('read', cause)
    }
  }

  commit(events: readonly StoredChange[]): void {
    this.#transaction(() => {
      for (const event of events) this.#store(event)
    })
  }

  async whenDurable(): Promise<void> {
    try {
      await this.#log?.whenSynced()
    } catch (cause) {
      // What is on the disk is not what is read: only a new start reads what is there.
      this.#lost ??= this.#failure('sync', cause)
      throw this.#lost
    }
  }

  probe(): void {
    this.#transaction(() => this.#database.exec(`PRAGMA user_version = ${STORE_VERSION}`))
  }

  oldestEventUnixMs(): number | undefined {
    const row = this.#read(() => this.#statements.findOldestMoment.get(TRIM_ROWS))
    const oldest = row?.['at_unix_ms']
    return typeof oldest === 'number' ? oldest : undefined
  }

  trimEvents({ beforeUnixMs, maxRows }: EventBounds): boolean {
    const bounds = [maxRows, beforeUnixMs, TRIM_ROWS] as const
    if (this.#read(() => this.#statements.findOldEvent.get(...bounds)) === undefined) return false
    let removed = 0
    this.#transaction(() => (removed = Number(this.#statements.deleteOldEvents.run(...bounds).changes)))
    return removed === TRIM_ROWS
  }

  close(): void {
    try {
      this.#log?.close()
      // Not waiting for readers: what stays in the log is durable there, and is read at the next start.
      this.#database.exec('PRAGMA busy_timeout = 0; PRAGMA wal_checkpoint(TRUNCATE)')
    } finally {
      this.#database.close()
    }
  }

  #transaction(body: () => void): void {
    if (this.#lost !== undefined) throw this.#lost
    try {
      this.#database.exec('BEGIN IMMEDIATE')
      body()
      this.#database.exec('COMMIT')
      this.#log?.noteWrite()
    } catch (cause) {
      // A failed COMMIT may have ended the transaction already.
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK')
      throw this.#failure('write', cause)
    }
  }

  #failure(verb: string, cause: unknown): StoreError {
    return new StoreError(`Cannot ${verb} lease store ${this.#path}: ${(cause as Error).message}`, { cause })
  }

  #store(event: StoredChange): void {
    switch (event.type) {
      case 'block-taken':
        return this.#storeBlock(event, event.atUnixMs)
      case 'block-returned':
        return this.#storeReturn(event, event.atUnixMs)
      case 'leased':
        return this.#storeLease(event)
      case 'renewed':
        return this.#storeRenewal(event)
      case 'released':
        return this.#storeRelease(event)
      case 'reserved':
        return this.#storeReservation(event.reservation, event.atUnixMs)
      case 'unreserved':
        return this.#storeEndOfReservation(event.reservation, event.atUnixMs)
      case 'grantee-seen': {
        const { node, instance, sequence } = event.grantee
        return void this.#statements.setGrantee.run(node, instance, sequence)
      }
      case 'upstream-asked':
        return void this.#statements.setSequence.run(event.pool, event.sequence)
      case 'clock-set':
        return void this.#statements.shiftFreed.run(event.stepMs)
      case 'clock-seen':
        return void this.#statements.setClock.run(this.#boot.bootId, event.bootedAtUnixMs)
      case 'pod-cidrs-handed-over':
        return this.#storePodCidrs(event)
    }
  }

  #storeBlock({ pool, prefix, node }: TakenBlock, atUnixMs: number): void {
    const text = formatPrefix(prefix)
    const first = addressToBytes(firstAddress(prefix))
    const last = addressToBytes(lastAddress(prefix))
    this.#statements.insertBlock.run(pool, prefix.address.family, text, first, last, atUnixMs, node ?? null)
    this.#statements.insertBlockEvent.run(atUnixMs, 'block-taken', pool, text, node ?? null)
  }

  #storeReturn({ pool, prefix, node }: TakenBlock, atUnixMs: number): void {
    const text = formatPrefix(prefix)
    // Its freed addresses go with it; a lease in it stops the transaction.
    const { changes } = this.#statements.deleteBlock.run(pool, text, node ?? null)
    if (changes !== 1) throw new Error(`no block ${text} of pool ${pool}`)
    this.#statements.insertBlockEvent.run(atUnixMs, 'block-returned', pool, text, node ?? null)
  }

  #storeReservation({ address, pool, owner, note }: Reservation, atUnixMs: number): void {
    const bytes = addressToBytes(address)
    this.#statements.insertReservation.run(bytes, pool, owner, note ?? null, atUnixMs)
    this.#statements.insertReservationEvent.run(atUnixMs, 'reserved', note ?? null, pool, bytes, owner)
  }

  #storeEndOfReservation({ address, pool, owner }: Reservation, atUnixMs: number): void {
    const bytes = addressToBytes(address)
    const { changes } = this.#statements.deleteReservation.run(bytes)
    if (changes !== 1) throw new Error(`no reservation of ${formatAddress(address)}`)
    this.#statements.insertReservationEvent.run(atUnixMs, 'unreserved', null, pool, bytes, owner)
  }

  #storePodCidrs({ pool, podCidrs }: PodCidrsHandedOver): void {
    this.#statements.deletePodCidrs.run()
    for (const prefix of podCidrs) {
      this.#statements.insertPodCidr.run(prefix.address.family, pool, formatPrefix(prefix))
    }
  }

  #storeLease({ lease, pod, via }: LeaseEvent & { type: 'leased' }): void {
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
      lease.owner ?? null,
      lease.stickySeconds ?? 0,
      via ?? null,
    )
    for (const { address, block } of lease.addresses) {
      const bytes = addressToBytes(address)
      this.#statements.deleteFreed.run(bytes)
      this.#statements.insertAddress.run(bytes, id, address.family, formatPrefix(block))
    }
    this.#statements.insertLeaseEvents.run(lease.leasedAtUnixMs, 'leased', null, null, id)
  }

  #storeRenewal({ lease, via }: LeaseEvent & { type: 'renewed' }): void {
    const { bootId, initStartTicks, hostNetnsInode } = this.#boot
    const facts = [bootId, initStartTicks, hostNetnsInode, via ?? null] as const
    const { changes } = this.#statements.renewLease.run(...facts, ...keyOf(lease.attachment))
    if (changes !== 1) throw new Error(`no lease of ${keyOf(lease.attachment).join('/')}`)
  }

  #storeRelease({ lease, atUnixMs, reason, detail }: LeaseEvent & { type: 'released' }): void {
    const row = this.#statements.findLease.get(...keyOf(lease.attachment))
    const id = row?.['id']
    if (typeof id !== 'number') throw new Error(`no lease of ${keyOf(lease.attachment).join('/')}`)
    this.#statements.insertLeaseEvents.run(atUnixMs, 'released', reason, detail ?? null, id)
    this.#statements.deleteAddresses.run(id)
    this.#statements.deleteLease.run(id)
    for (const { address, block } of lease.addresses) {
      const freed = [addressToBytes(address), formatPrefix(block), atUnixMs] as const
      this.#statements.insertFreed.run(...freed, lease.owner ?? null, lease.stickySeconds ?? 0)
    }
  }
}

function keyOf({ network, containerId, ifName }: AttachmentKey): [string, string, string] {
  return [network, containerId, ifName]
}

// Rows stand in the order of decision, so the old ones are among the first: no index by time, and no scan, is needed. Ids have
// no gaps but for rolled back commits, so that the last one tells how many rows there are.
const OLD_EVENTS = `
  SELECT id FROM (SELECT id, at_unix_ms FROM event ORDER BY id LIMIT ?3)
  WHERE id <= (SELECT max(id) FROM event) - ?1 OR at_unix_ms < ?2`

type Statements = ReturnType<typeof prepare>

function prepare(database: DatabaseSync) {
  return {
    insertBlock: database.prepare(
      'INSERT INTO block (pool, family, prefix, first_address, last_address, taken_at_unix_ms, node) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ),
    insertBlockEvent: database.prepare(
      'INSERT INTO event (at_unix_ms, kind, pool, block, owner) VALUES (?, ?, ?, ?, ?)',
    ),
    insertLease: database.prepare(
      `INSERT INTO lease (network, container_id, if_name, pool, leased_at_unix_ms, pod_namespace, pod_name, pod_uid,
         boot_id, init_start_ticks, host_netns_inode, owner, sticky_seconds, via)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    ),
    insertAddress: database.prepare(
      'INSERT INTO lease_address (address, lease, family, block) VALUES (?, ?, ?, (SELECT id FROM block WHERE prefix = ?))',
    ),
    insertLeaseEvents: database.prepare(
      `INSERT INTO event (at_unix_ms, kind, reason, detail, pool, block, address, network, container_id, if_name,
         pod_namespace, pod_name, pod_uid, owner)
       SELECT ?, ?, ?, ?, lease.pool, block.prefix, lease_address.address, lease.network, lease.container_id, lease.if_name,
         lease.pod_namespace, lease.pod_name, lease.pod_uid, lease.owner
       FROM lease JOIN lease_address ON lease_address.lease = lease.id JOIN block ON block.id = lease_address.block
       WHERE lease.id = ? ORDER BY lease_address.family`,
    ),
    renewLease: database.prepare(
      `UPDATE lease SET boot_id = ?, init_start_ticks = ?, host_netns_inode = ?, via = ?
       WHERE network = ? AND container_id = ? AND if_name = ?`,
    ),
    findLease: database.prepare('SELECT id FROM lease WHERE network = ? AND container_id = ? AND if_name = ?'),
    deleteAddresses: database.prepare('DELETE FROM lease_address WHERE lease = ?'),
    deleteLease: database.prepare('DELETE FROM lease WHERE id = ?'),
    deleteFreed: database.prepare('DELETE FROM freed_address WHERE address = ?'),
    insertFreed: database.prepare(
      `INSERT INTO freed_address (address, block, freed_at_unix_ms, owner, sticky_seconds)
       VALUES (?, (SELECT id FROM block WHERE prefix = ?), ?, ?, ?)`,
    ),
    shiftFreed: database.prepare('UPDATE freed_address SET freed_at_unix_ms = freed_at_unix_ms + ?'),
    deleteBlock: database.prepare('DELETE FROM block WHERE pool = ? AND prefix = ? AND node IS ?'),
    insertReservation: database.prepare(
      'INSERT INTO reservation (address, pool, owner, note, reserved_at_unix_ms) VALUES (?, ?, ?, ?, ?)',
    ),
    deleteReservation: database.prepare('DELETE FROM reservation WHERE address = ?'),
    insertReservationEvent: database.prepare(
      'INSERT INTO event (at_unix_ms, kind, detail, pool, address, owner) VALUES (?, ?, ?, ?, ?, ?)',
    ),
    setClock: database.prepare('INSERT OR REPLACE INTO clock (only_row, boot_id, booted_at_unix_ms) VALUES (1, ?, ?)'),
    setGrantee: database.prepare('INSERT OR REPLACE INTO grantee (node, instance, sequence) VALUES (?, ?, ?)'),
    setSequence: database.prepare('INSERT OR REPLACE INTO upstream (pool, sequence) VALUES (?, ?)'),
    deletePodCidrs: database.prepare('DELETE FROM pod_cidr'),
    insertPodCidr: database.prepare('INSERT INTO pod_cidr (family, pool, prefix) VALUES (?, ?, ?)'),
    // Of the first rows the one that happened first: the clock may have been set back between them.
    findOldestMoment: database.prepare(
      'SELECT min(at_unix_ms) AS at_unix_ms FROM (SELECT at_unix_ms FROM event ORDER BY id LIMIT ?)',
    ),
    findOldEvent: database.prepare(`${OLD_EVENTS} LIMIT 1`),
    deleteOldEvents: database.prepare(`DELETE FROM event WHERE id IN (${OLD_EVENTS})`),
  }
}

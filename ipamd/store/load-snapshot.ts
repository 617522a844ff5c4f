import type { DatabaseSync } from 'node:sqlite'
import { addressFromBytes } from '../../lib/net/address.ts'
import { parsePrefix, type Prefix } from '../../lib/net/prefix.ts'
import type { LeaseSource } from '../allocator/lease-table.ts'
import type { Reservation } from '../allocator/reservation.ts'
import type { LeasedInBlock, Snapshot, StoredFreedAddress } from '../allocator/snapshot.ts'
import type { TakenBlock } from '../allocator/state.ts'
import { bytesIn, keepIn, numberIn, optionalTextIn, textIn, type Row } from './row.ts'

/** Reads what the allocator keeps in memory. @throws {Error} for a value that this version does not write. */
export function loadSnapshot(
  database: DatabaseSync,
  { leases, bootId }: { readonly leases: LeaseSource; readonly bootId: string },
): Snapshot {
  const blocks = loadBlocks(database)
  return {
    blocks: [...blocks.values()],
    leases,
    leased: loadLeased(database, blocks),
    leaseCounts: database
      .prepare('SELECT pool, count(*) AS leases FROM lease GROUP BY pool')
      .all()
      .map(row => ({ pool: textIn(row, 'pool'), leases: numberIn(row, 'leases') })),
    freed: { [Symbol.iterator]: () => loadFreed(database, blocks) },
    reservations: loadReservations(database),
    podCidrs: database
      .prepare('SELECT pool, prefix FROM pod_cidr ORDER BY family')
      .all()
      .map(row => ({ pool: textIn(row, 'pool'), prefix: parsePrefix(textIn(row, 'prefix')) })),
    grantees: database
      .prepare('SELECT node, instance, sequence FROM grantee')
      .all()
      .map(row => ({
        node: textIn(row, 'node'),
        instance: textIn(row, 'instance'),
        sequence: numberIn(row, 'sequence'),
      })),
    sequences: database
      .prepare('SELECT pool, sequence FROM upstream')
      .all()
      .map(row => ({ pool: textIn(row, 'pool'), sequence: numberIn(row, 'sequence') })),
    bootedAtUnixMs: loadBootedAt(database, bootId),
  }
}

function loadBootedAt(database: DatabaseSync, bootId: string): number | undefined {
  const row = database.prepare('SELECT booted_at_unix_ms FROM clock WHERE boot_id = ?').get(bootId)
  return row && numberIn(row, 'booted_at_unix_ms')
}

function loadBlocks(database: DatabaseSync): ReadonlyMap<number, TakenBlock> {
  const blocks = new Map<number, TakenBlock>()
  for (const row of database.prepare('SELECT id, pool, prefix, node FROM block ORDER BY id').iterate()) {
    const node = row['node'] === null ? {} : { node: textIn(row, 'node') }
    const block = { pool: textIn(row, 'pool'), prefix: parsePrefix(textIn(row, 'prefix')), ...node }
    blocks.set(numberIn(row, 'id'), block)
  }
  return blocks
}

/** A row for each block in place of one for each lease: making 60,000 objects of rows takes half a second. */
function loadLeased(database: DatabaseSync, blocks: ReadonlyMap<number, TakenBlock>): readonly LeasedInBlock[] {
  return database
    .prepare("SELECT block, group_concat(hex(address), '') AS addresses FROM lease_address GROUP BY block")
    .all()
    .map(row => {
      const { prefix } = blockOf(blocks, row)
      return { block: prefix, addresses: addressesIn(textIn(row, 'addresses'), prefix) }
    })
}

function addressesIn(hex: string, { address: { family } }: Prefix): readonly bigint[] {
  const digits = family === 4 ? 8 : 32
  return Array.from({ length: hex.length / digits }, (_, index) =>
    BigInt(`0x${hex.slice(index * digits, (index + 1) * digits)}`),
  )
}

/** One by one: there may be as many as there are leases. */
function* loadFreed(
  database: DatabaseSync,
  blocks: ReadonlyMap<number, TakenBlock>,
): Generator<StoredFreedAddress, void> {
  const rows = database
    .prepare('SELECT address, block, freed_at_unix_ms, owner, sticky_seconds FROM freed_address ORDER BY id')
    .iterate()
  for (const row of rows) {
    yield {
      address: addressFromBytes(bytesIn(row, 'address')),
      block: blockOf(blocks, row),
      freedAtUnixMs: numberIn(row, 'freed_at_unix_ms'),
      ...keepIn(row),
    }
  }
}

function loadReservations(database: DatabaseSync): readonly Reservation[] {
  return database
    .prepare('SELECT address, pool, owner, note FROM reservation ORDER BY length(address), address')
    .all()
    .map(row => {
      const note = optionalTextIn(row, 'note')
      return {
        address: addressFromBytes(bytesIn(row, 'address')),
        pool: textIn(row, 'pool'),
        owner: textIn(row, 'owner'),
        ...(note === undefined ? {} : { note }),
      }
    })
}

function blockOf(blocks: ReadonlyMap<number, TakenBlock>, row: Row): TakenBlock {
  const block = blocks.get(numberIn(row, 'block'))
  if (block === undefined) throw new Error(`row names block ${numberIn(row, 'block')}, which does not exist`)
  return block
}

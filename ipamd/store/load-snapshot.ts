import type { DatabaseSync, SQLOutputValue } from 'node:sqlite'
import type { Lease, LeasedAddress } from '../../lib/ipam/lease.ts'
import { addressFromBytes, type Address } from '../../lib/net/address.ts'
import { parsePrefix, type Prefix } from '../../lib/net/prefix.ts'
import { gatewayOf } from '../allocator/pool.ts'
import type { Reservation } from '../allocator/reservation.ts'
import type { Snapshot, TakenBlock } from '../allocator/state.ts'

type Row = Readonly<Record<string, SQLOutputValue>>

/** Reads the whole store. @throws {Error} for a value that this version does not write. */
export function loadSnapshot(database: DatabaseSync): Snapshot {
  const blocks = new Map<number, TakenBlock>()
  for (const row of database.prepare('SELECT id, pool, prefix, node FROM block ORDER BY id').iterate()) {
    const node = row['node'] === null ? {} : { node: text(row, 'node') }
    blocks.set(number(row, 'id'), { pool: text(row, 'pool'), prefix: parsePrefix(text(row, 'prefix')), ...node })
  }
  return {
    blocks: [...blocks.values()],
    // One by one: 60,000 of them in a list, beside what is made of them, would be the largest that the daemon ever needs.
    leases: { [Symbol.iterator]: () => loadLeases(database, blocks) },
    freed: loadFreed(database, blocks),
    reservations: loadReservations(database),
    podCidrs: loadPodCidrs(database),
    grantees: loadGrantees(database),
    sequences: loadSequences(database),
  }
}

function* loadLeases(database: DatabaseSync, blocks: ReadonlyMap<number, TakenBlock>): Generator<Lease, void> {
  const shared = new SharedTexts()
  const gateways = new Map<Prefix, Address | undefined>()
  let currentId: number | undefined
  let lease: Omit<Lease, 'addresses'> | undefined
  let addresses: LeasedAddress[] = []
  const rows = database
    .prepare(
      `SELECT lease.id, network, container_id, if_name, pool, leased_at_unix_ms, owner, sticky_seconds, address, block
       FROM lease JOIN lease_address ON lease_address.lease = lease.id ORDER BY lease.id, family`,
    )
    .iterate()
  for (const row of rows) {
    const id = number(row, 'id')
    if (id !== currentId) {
      // A list that grew by push() has room for sixteen more.
      if (lease !== undefined) yield { ...lease, addresses: [...addresses] }
      currentId = id
      addresses = []
      lease = {
        attachment: {
          network: shared.text(row, 'network'),
          containerId: text(row, 'container_id'),
          ifName: shared.text(row, 'if_name'),
        },
        pool: shared.text(row, 'pool'),
        leasedAtUnixMs: number(row, 'leased_at_unix_ms'),
        ...keepOf(row),
      }
    }
    const { prefix } = blockOf(blocks, row)
    if (!gateways.has(prefix)) gateways.set(prefix, gatewayOf(prefix))
    const gateway = gateways.get(prefix)
    const address = addressFromBytes(bytes(row, 'address'))
    addresses.push({ address, block: prefix, ...(gateway === undefined ? {} : { gateway }) })
  }
  if (lease !== undefined) yield { ...lease, addresses: [...addresses] }
}

/** Texts that many rows have alike, each of them kept once: SQLite gives a new one for each row. */
class SharedTexts {
  readonly #texts = new Map<string, string>()

  text(row: Row, column: string): string {
    const given = text(row, column)
    const known = this.#texts.get(given)
    if (known === undefined) this.#texts.set(given, given)
    return known ?? given
  }
}

function loadFreed(database: DatabaseSync, blocks: ReadonlyMap<number, TakenBlock>): Snapshot['freed'] {
  return database
    .prepare('SELECT address, block, freed_at_unix_ms, owner, sticky_seconds FROM freed_address ORDER BY id')
    .all()
    .map(row => ({
      address: addressFromBytes(bytes(row, 'address')),
      block: blockOf(blocks, row),
      freedAtUnixMs: number(row, 'freed_at_unix_ms'),
      ...keepOf(row),
    }))
}

function loadReservations(database: DatabaseSync): readonly Reservation[] {
  return database
    .prepare('SELECT address, pool, owner, note FROM reservation ORDER BY length(address), address')
    .all()
    .map(row => ({
      address: addressFromBytes(bytes(row, 'address')),
      pool: text(row, 'pool'),
      owner: text(row, 'owner'),
      ...(row['note'] === null ? {} : { note: text(row, 'note') }),
    }))
}

function loadGrantees(database: DatabaseSync): Snapshot['grantees'] {
  return database
    .prepare('SELECT node, instance, sequence FROM grantee')
    .all()
    .map(row => ({ node: text(row, 'node'), instance: text(row, 'instance'), sequence: number(row, 'sequence') }))
}

function loadSequences(database: DatabaseSync): Snapshot['sequences'] {
  return database
    .prepare('SELECT pool, sequence FROM upstream')
    .all()
    .map(row => ({ pool: text(row, 'pool'), sequence: number(row, 'sequence') }))
}

function loadPodCidrs(database: DatabaseSync): Snapshot['podCidrs'] {
  return database
    .prepare('SELECT pool, prefix FROM pod_cidr ORDER BY family')
    .all()
    .map(row => ({ pool: text(row, 'pool'), prefix: parsePrefix(text(row, 'prefix')) }))
}

/** Whose the address is when it is free again. Absent members stay absent: what is loaded equals what was stored. */
function keepOf(row: Row): Pick<Lease, 'owner' | 'stickySeconds'> {
  if (row['owner'] === null) return {}
  const stickySeconds = number(row, 'sticky_seconds')
  return { owner: text(row, 'owner'), ...(stickySeconds === 0 ? {} : { stickySeconds }) }
}

function blockOf(blocks: ReadonlyMap<number, TakenBlock>, row: Row): TakenBlock {
  const block = blocks.get(number(row, 'block'))
  if (block === undefined) throw new Error(`row names block ${number(row, 'block')}, which does not exist`)
  return block
}

function number(row: Row, column: string): number {
  const value = row[column]
  if (typeof value !== 'number') throw new Error(`column ${column} holds no number`)
  return value
}

function text(row: Row, column: string): string {
  const value = row[column]
  if (typeof value !== 'string') throw new Error(`column ${column} holds no text`)
  return value
}

function bytes(row: Row, column: string): Uint8Array {
  const value = row[column]
  if (!(value instanceof Uint8Array)) throw new Error(`column ${column} holds no bytes`)
  return value
}

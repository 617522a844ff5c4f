import { DatabaseSync } from 'node:sqlite'
import { parseAttachmentKey, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import { checkOwner } from '../../lib/ipam/protocol.ts'
import { addressFromBytes, type Address } from '../../lib/net/address.ts'
import { parsePrefix } from '../../lib/net/prefix.ts'
import type { PodCidr } from '../allocator/pod-cidr.ts'
import type { Reservation } from '../allocator/reservation.ts'
import type { Grantee, TakenBlock } from '../allocator/state.ts'
import type { LeaseMark } from './lease-mark.ts'
import { bytesIn, numberIn, optionalTextIn, textIn, type Row } from './row.ts'

// From both ends: SQLite stops at the page that is damaged, and what lies behind it can be reached from the other side.
const DIRECTIONS = ['ASC', 'DESC'] as const

/**
 * What can still be read of the leases in a damaged store. Rows that make no sense are left out; it gives nothing for a
 * file of which nothing can be read.
 */
export function salvageLeases(path: string): readonly LeaseMark[] {
  using database = openOrUndefined(path)
  if (database === undefined) return []
  const attachments = new Map<unknown, AttachmentKey>()
  for (const row of rowsOf(database, 'SELECT id, network, container_id, if_name FROM lease ORDER BY id')) {
    const attachment = orUndefined(() => attachmentIn(row))
    if (attachment !== undefined) attachments.set(row['id'], attachment)
  }
  const addresses = new Map<unknown, Map<string, Address>>()
  for (const row of rowsOf(database, 'SELECT lease, address FROM lease_address ORDER BY address')) {
    const address = orUndefined(() => addressFromBytes(row['address'] as Uint8Array))
    if (address === undefined) continue
    const known = addresses.get(row['lease']) ?? new Map<string, Address>()
    // The same row may come from both ends.
    addresses.set(row['lease'], known.set(`${address.family}:${address.value}`, address))
  }
  return [...attachments].flatMap(([lease, attachment]) => {
    const found = [...(addresses.get(lease)?.values() ?? [])]
    return found.length === 0 ? [] : [{ attachment, addresses: found }]
  })
}

/** What can still be read of the reservations in a damaged store. Nothing else than the store knows of them. */
export function salvageReservations(path: string): readonly Reservation[] {
  using database = openOrUndefined(path)
  if (database === undefined) return []
  const reservations = new Map<string, Reservation>()
  for (const row of rowsOf(database, 'SELECT address, pool, owner, note FROM reservation ORDER BY address')) {
    const reservation = orUndefined(() => reservationIn(row))
    if (reservation === undefined) continue
    const { family, value } = reservation.address
    reservations.set(`${family}:${value}`, reservation)
  }
  return [...reservations.values()]
}

/** What can still be read of blocks, and of who got them from whom. */
export interface SalvagedBlocks {
  readonly blocks: readonly TakenBlock[]
  readonly podCidrs: readonly PodCidr[]
  readonly grantees: readonly Grantee[]
  readonly sequences: readonly { readonly pool: string; readonly sequence: number }[]
}

/** What can still be read of the blocks in a damaged store. Nothing else knows what other nodes were granted. */
export function salvageBlocks(path: string): SalvagedBlocks {
  using database = openOrUndefined(path)
  if (database === undefined) return { blocks: [], podCidrs: [], grantees: [], sequences: [] }
  // The same row may come from both ends.
  const all = <T>(
    sql: string,
    { key, read }: { readonly key: string; readonly read: (row: Row) => T },
  ): readonly T[] => {
    const found = new Map<unknown, T>()
    for (const row of rowsOf(database, `${sql} ORDER BY ${key}`)) {
      const value = orUndefined(() => read(row))
      if (value !== undefined) found.set(row[key], value)
    }
    return [...found.values()]
  }
  const rangeIn = (row: Row): PodCidr => ({ pool: textIn(row, 'pool'), prefix: parsePrefix(textIn(row, 'prefix')) })
  return {
    blocks: all('SELECT * FROM block', {
      key: 'id',
      // Of a store before version 4 the column is missing: every block is this node's.
      read: row => ({ ...rangeIn(row), node: row['node'] === undefined ? undefined : optionalTextIn(row, 'node') }),
    }),
    podCidrs: all('SELECT family, pool, prefix FROM pod_cidr', { key: 'family', read: rangeIn }),
    grantees: all('SELECT node, instance, sequence FROM grantee', {
      key: 'node',
      read: row => ({
        node: textIn(row, 'node'),
        instance: textIn(row, 'instance'),
        sequence: numberIn(row, 'sequence'),
      }),
    }),
    sequences: all('SELECT pool, sequence FROM upstream', {
      key: 'pool',
      read: row => ({ pool: textIn(row, 'pool'), sequence: numberIn(row, 'sequence') }),
    }),
  }
}

function reservationIn(row: Row): Reservation {
  const note = optionalTextIn(row, 'note')
  return {
    address: addressFromBytes(bytesIn(row, 'address')),
    pool: textIn(row, 'pool'),
    owner: checkOwner(textIn(row, 'owner')),
    ...(note === undefined ? {} : { note }),
  }
}

function openOrUndefined(path: string): DatabaseSync | undefined {
  return orUndefined(() => new DatabaseSync(path, { readOnly: true }))
}

function* rowsOf(database: DatabaseSync, sql: string): Generator<Row> {
  for (const direction of DIRECTIONS) {
    const rows = orUndefined(() => database.prepare(`${sql} ${direction}`).iterate())
    for (;;) {
      const next = orUndefined(() => rows?.next())
      if (next === undefined || next.done === true) break
      yield next.value
    }
  }
}

function attachmentIn(row: Row): AttachmentKey {
  const [network, containerId, ifName] = [row['network'], row['container_id'], row['if_name']].map(String)
  return parseAttachmentKey({ network: network ?? '', containerId: containerId ?? '', ifName: ifName ?? '' })
}

/** A damaged file may fail in any way and at any place: what fails is what is lost. */
function orUndefined<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

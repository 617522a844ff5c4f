import { DatabaseSync } from 'node:sqlite'
import { parseAttachmentKey, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import { checkOwner } from '../../lib/ipam/protocol.ts'
import { addressFromBytes, type Address } from '../../lib/net/address.ts'
import type { Reservation } from '../allocator/reservation.ts'
import type { LeaseMark } from './lease-mark.ts'
import { bytesIn, optionalTextIn, textIn, type Row } from './row.ts'

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

import type { EventRecord, HistoryQuery, HistoryReply, Tenure } from '../../lib/ipam/inspection.ts'
import { addressFromBytes, addressToBytes } from '../../lib/net/address.ts'
import { attachmentIn, bytesIn, numberIn, optionalTextIn, podIn, textIn, type Row } from './row.ts'
import type { StoreReader } from './store-reader.ts'

/** The ids of the events that are kept; both 0 when none ever was. */
export interface EventRange {
  /** The id of the oldest event that is kept, or the one behind `newest` when none is. */
  readonly oldest: number
  /** The id of the newest event that ever was, also when it is not kept any more. */
  readonly newest: number
}

export function eventRange(reader: StoreReader): EventRange {
  // The sequence remembers the newest id when retention has removed every row.
  return reader.query(
    `SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event'), 0) AS newest,
       (SELECT min(id) FROM event) AS oldest`,
    {
      parameters: [],
      read: rows => {
        const [row] = rows
        if (row === undefined) throw new Error('a query without FROM gave no row')
        const newest = numberIn(row, 'newest')
        return { newest, oldest: row['oldest'] === null ? newest + 1 : numberIn(row, 'oldest') }
      },
    },
  )
}

/** At most `limit` events behind the one with the id `after`, in their order. @throws {StoreError} */
export function eventsAfter(
  reader: StoreReader,
  { after, limit }: { readonly after: number; readonly limit: number },
): readonly EventRecord[] {
  return reader.query('SELECT * FROM event WHERE id > ? ORDER BY id LIMIT ?', {
    parameters: [after, limit],
    read: rows => Array.from(rows, eventIn),
  })
}

/**
 * Who held an address, or which addresses an attachment held, and when; the latest first.
 *
 * Moments are those of the wall clock when each change was decided. Where the clock was set back, more than one attachment
 * may appear to have held an address at one moment: all of them are answered.
 *
 * @throws {StoreError}
 */
export function findTenures(reader: StoreReader, query: HistoryQuery): HistoryReply {
  const { atUnixMs, limit } = query
  const tenures: Tenure[] = []
  const hasMore = recordedTenures(reader, query, tenure => {
    if (atUnixMs !== undefined && !covers(tenure, atUnixMs)) return 'go on'
    if (tenures.length === limit) return 'enough'
    tenures.push(tenure)
    return 'go on'
  })
  return { tenures, hasMore }
}

function covers({ leasedAtUnixMs, releasedAtUnixMs }: Tenure, atUnixMs: number): boolean {
  return (leasedAtUnixMs ?? 0) <= atUnixMs && (releasedAtUnixMs === undefined || atUnixMs < releasedAtUnixMs)
}

type Visit = (tenure: Tenure) => 'go on' | 'enough'

/** Visits the tenures, the latest first. True when the visitor had enough. */
function recordedTenures(reader: StoreReader, query: HistoryQuery, visit: Visit): boolean {
  const { sql, parameters } = historySql(query)
  return reader.query(sql, { parameters, read: rows => pair(rows, visit) })
}

/**
 * Makes tenures of rows that come newest first, so that an address is seen released before it is seen leased. A lease that
 * still holds comes as a row of the table of leases, before all events: so it is known also when the event of its beginning
 * is not kept any more.
 */
function pair(rows: Iterable<Row>, visit: Visit): boolean {
  /** What is seen to end, or to last, and not yet to begin; by address. */
  const open = new Map<string, Tenure>()
  for (const row of rows) {
    const key = Buffer.from(bytesIn(row, 'address')).toString('hex')
    const later = open.get(key)
    switch (textIn(row, 'kind')) {
      case 'held':
        if (visit(tenureIn(row, { leasedAtUnixMs: numberIn(row, 'at_unix_ms') })) === 'enough') return true
        break
      case 'released':
        // Two ends without a beginning between them: that of the later one is not recorded.
        if (later !== undefined && visit(later) === 'enough') return true
        open.set(
          key,
          tenureIn(row, {
            releasedAtUnixMs: numberIn(row, 'at_unix_ms'),
            reason: optionalTextIn(row, 'reason'),
            detail: optionalTextIn(row, 'detail'),
          }),
        )
        break
      case 'leased':
        // Without an end it still holds, and was visited.
        if (later === undefined) break
        open.delete(key)
        if (visit({ ...later, leasedAtUnixMs: numberIn(row, 'at_unix_ms') }) === 'enough') return true
        break
    }
  }
  for (const tenure of open.values()) if (visit(tenure) === 'enough') return true
  return false
}

type Ends = Pick<Tenure, 'leasedAtUnixMs' | 'releasedAtUnixMs' | 'reason' | 'detail'>

function tenureIn(row: Row, ends: Ends): Tenure {
  return {
    address: addressFromBytes(bytesIn(row, 'address')),
    block: textIn(row, 'block'),
    pool: textIn(row, 'pool'),
    attachment: attachmentIn(row),
    pod: podIn(row),
    ...ends,
  }
}

/** For recordedTenures(), and for the test that looks how SQLite finds the rows. */
export function historySql({ address, network, containerId, ifName }: HistoryQuery) {
  const given = [
    ['address = ?', address === undefined ? undefined : addressToBytes(address)],
    ['network = ?', network],
    ['container_id = ?', containerId],
    ['if_name = ?', ifName],
  ] as const
  const asked = given.filter(([, value]) => value !== undefined)
  const where = asked.map(([condition]) => condition).join(' AND ')
  const values = asked.map(([, value]) => value ?? null)
  const columns = 'pool, block, address, network, container_id, if_name, pod_namespace, pod_name, pod_uid'
  return {
    sql: `SELECT 0 AS turn, id, kind, at_unix_ms, reason, detail, ${columns} FROM (
        SELECT lease.id, 'held' AS kind, lease.leased_at_unix_ms AS at_unix_ms, NULL AS reason, NULL AS detail, lease.pool,
          block.prefix AS block, lease_address.address, network, container_id, if_name, pod_namespace, pod_name, pod_uid
        FROM lease JOIN lease_address ON lease_address.lease = lease.id JOIN block ON block.id = lease_address.block
      ) WHERE ${where}
      UNION ALL
      SELECT 1 AS turn, id, kind, at_unix_ms, reason, detail, ${columns} FROM event
      WHERE ${where} AND address IS NOT NULL AND kind IN ('leased', 'released')
      ORDER BY turn, id DESC`,
    parameters: [...values, ...values],
  }
}

function eventIn(row: Row): EventRecord {
  return {
    id: numberIn(row, 'id'),
    atUnixMs: numberIn(row, 'at_unix_ms'),
    kind: textIn(row, 'kind'),
    reason: optionalTextIn(row, 'reason'),
    detail: optionalTextIn(row, 'detail'),
    pool: textIn(row, 'pool'),
    block: optionalTextIn(row, 'block'),
    address: row['address'] === null ? undefined : addressFromBytes(bytesIn(row, 'address')),
    attachment: row['container_id'] === null ? undefined : attachmentIn(row),
    pod: podIn(row),
    owner: optionalTextIn(row, 'owner'),
  }
}

import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite'
import type { BlockReport, LeasePage, LeaseQuery, LeaseRecord } from '../../lib/ipam/inspection.ts'
import type { LeasedAddress } from '../../lib/ipam/lease.ts'
import { addressToBytes } from '../../lib/net/address.ts'
import { parsePrefix } from '../../lib/net/prefix.ts'
import { attachmentIn, numberIn, optionalTextIn, podIn, textIn, type Row } from './row.ts'
import { StoreError } from './store-error.ts'
import { leasedAddressIn } from './stored-leases.ts'

/** Another process that writes, such as a person's sqlite3 shell, holds a reader up only while it makes a checkpoint. */
const BUSY_TIMEOUT_MS = 250

/**
 * Reads what is committed, over a connection of its own that cannot write: looking at the store never gets in the way of a
 * commit. It may show a change some milliseconds before that would survive a loss of power.
 */
export class StoreReader {
  readonly #path: string
  readonly #database: DatabaseSync
  readonly #statements = new Map<string, StatementSync>()

  /** The file exists, and its version is known: the writer has opened it. @throws {StoreError} naming the file. */
  constructor(path: string) {
    this.#path = path
    try {
      this.#database = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS })
    } catch (cause) {
      throw this.#failure(cause)
    }
  }

  /** The file of the store. */
  get path(): string {
    return this.#path
  }

  /** Runs one query, whose text is a constant of ours, and gives its rows to `read`. @throws {StoreError} */
  query<T>(
    sql: string,
    { parameters, read }: { readonly parameters: readonly SQLInputValue[]; readonly read: (rows: Iterable<Row>) => T },
  ): T {
    try {
      return read(this.#statement(sql).iterate(...parameters))
    } catch (cause) {
      throw this.#failure(cause)
    }
  }

  /** One page of the leases that match, oldest first. @throws {StoreError} */
  leases(query: LeaseQuery): LeasePage {
    const { conditions, parameters } = conditionsOf(query)
    // One more than asked for, to see whether there is a next page.
    const found = this.query(
      `SELECT page.*, lease_address.address, block.prefix
       FROM (SELECT * FROM lease WHERE ${conditions.join(' AND ')} ORDER BY id LIMIT ?) AS page
         JOIN lease_address ON lease_address.lease = page.id JOIN block ON block.id = lease_address.block
       ORDER BY page.id, lease_address.family`,
      { parameters: [...parameters, query.limit + 1], read: leasesIn },
    )
    const leases = found.slice(0, query.limit)
    return { leases, next: found.length > leases.length ? leases.at(-1)?.id : undefined }
  }

  /** Every block of this node, and those that others were granted, in the order in which they were taken. @throws {StoreError} */
  blocks(): readonly BlockReport[] {
    return this.query(
      `SELECT prefix, pool, node, taken_at_unix_ms,
         (SELECT count(*) FROM lease_address WHERE lease_address.block = block.id) AS leased,
         (SELECT count(*) FROM freed_address WHERE freed_address.block = block.id) AS freed
       FROM block ORDER BY id`,
      { parameters: [], read: rows => Array.from(rows, blockIn) },
    )
  }

  close(): void {
    this.#database.close()
  }

  #statement(sql: string): StatementSync {
    const known = this.#statements.get(sql)
    if (known !== undefined) return known
    const statement = this.#database.prepare(sql)
    this.#statements.set(sql, statement)
    return statement
  }

  #failure(cause: unknown): StoreError {
    return new StoreError(`Cannot read lease store ${this.#path}: ${(cause as Error).message}`, { cause })
  }
}

// Only what is asked for is in the query: "? IS NULL OR network = ?" would read every lease where the index finds one.
function conditionsOf(query: LeaseQuery): {
  readonly conditions: readonly string[]
  readonly parameters: readonly SQLInputValue[]
} {
  const address = query.address === undefined ? undefined : addressToBytes(query.address)
  const given = [
    ['id > ?', query.after],
    ['network = ?', query.network],
    ['container_id = ?', query.containerId],
    ['if_name = ?', query.ifName],
    ['pool = ?', query.pool],
    ['pod_namespace = ?', query.podNamespace],
    ['pod_name = ?', query.podName],
    ['id = (SELECT lease FROM lease_address WHERE address = ?)', address],
  ] as const
  const conditions: string[] = []
  const parameters: SQLInputValue[] = []
  for (const [condition, value] of given) {
    if (value === undefined) continue
    conditions.push(condition)
    parameters.push(value)
  }
  return { conditions, parameters }
}

/** Each lease is as many rows as it has addresses, one behind the other. */
function leasesIn(rows: Iterable<Row>): readonly LeaseRecord[] {
  const leases: LeaseRecord[] = []
  let addresses: LeasedAddress[] = []
  for (const row of rows) {
    const id = numberIn(row, 'id')
    if (leases.at(-1)?.id !== id) {
      addresses = []
      leases.push({
        id,
        attachment: attachmentIn(row),
        pool: textIn(row, 'pool'),
        addresses,
        leasedAtUnixMs: numberIn(row, 'leased_at_unix_ms'),
        pod: podIn(row),
      })
    }
    addresses.push(leasedAddressIn(row))
  }
  return leases
}

function blockIn(row: Row): BlockReport {
  return {
    prefix: parsePrefix(textIn(row, 'prefix')),
    pool: textIn(row, 'pool'),
    node: optionalTextIn(row, 'node'),
    takenAtUnixMs: numberIn(row, 'taken_at_unix_ms'),
    leased: numberIn(row, 'leased'),
    freed: numberIn(row, 'freed'),
  }
}

import { statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { STORE_VERSION } from './schema.ts'
import { StoreError } from './store-error.ts'

/** What is found where the store should be. */
export type StoreHealth =
  | { readonly is: 'sound' }
  /** Nothing is there, or a file without a byte, as a power loss can leave it (checklist R41). */
  | { readonly is: 'missing' }
  | { readonly is: 'damaged'; readonly why: string }

const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26

/** While it is checked, indexes send SQLite all over the file. With the usual 2 MiB it would read most pages many times. */
const CHECK_CACHE_KIB = 16_384

/**
 * Looks at the whole file, which takes some milliseconds for each thousand leases. Only the indexes of the history are not held
 * against what they lead to: there may be ten times as many rows as leases, nobody is leased anything by them, and the daemon
 * would be away for seconds (docs/adr/0013-leases-are-read-from-the-store.md).
 *
 * A store of a later version is not looked into: opening it refuses it, and it is not ours to repair.
 *
 * @throws {StoreError} naming the file, when it cannot be read: that is no damage.
 */
export function examineStore(path: string): StoreHealth {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined || stats.size === 0) {
    const log = statSync(`${path}-wal`, { throwIfNoEntry: false })
    if (log === undefined || log.size === 0) return { is: 'missing' }
    return { is: 'damaged', why: 'the file is empty, and its log is not' }
  }
  try {
    using database = new DatabaseSync(path, { readOnly: true })
    database.exec(`PRAGMA cache_size = -${CHECK_CACHE_KIB}`)
    if (Number(firstOf(database, 'PRAGMA user_version')) > STORE_VERSION) return { is: 'sound' }
    for (const check of ['PRAGMA quick_check(1)', ...tablesIn(database).map(fullCheckOf)]) {
      const answer = firstOf(database, check)
      if (answer !== 'ok') return { is: 'damaged', why: String(answer) }
    }
    const orphan = firstOf(database, 'PRAGMA foreign_key_check')
    return orphan === undefined
      ? { is: 'sound' }
      : { is: 'damaged', why: `a row of ${JSON.stringify(orphan)} names a lost one` }
  } catch (cause) {
    const { message, errcode } = cause as Error & { readonly errcode?: number }
    // The low byte is the error, the others say more about it.
    const code = (errcode ?? 0) & 0xff
    if (code === SQLITE_CORRUPT || code === SQLITE_NOTADB) return { is: 'damaged', why: message }
    throw new StoreError(`Cannot open lease store ${path}: ${message}`, { cause })
  }
}

/** Those that say who has what: everything but the history. */
function tablesIn(database: DatabaseSync): readonly string[] {
  const rows = database.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'event'").all()
  return rows.map(row => String(row['name'])).filter(name => !name.startsWith('sqlite_'))
}

/** Indexes are held against their table, too. */
function fullCheckOf(table: string): string {
  return `PRAGMA integrity_check("${table.replaceAll('"', '""')}")`
}

function firstOf(database: DatabaseSync, sql: string): unknown {
  return Object.values(database.prepare(sql).get() ?? {})[0]
}

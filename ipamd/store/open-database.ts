import { DatabaseSync } from 'node:sqlite'
import { APPLICATION_ID, MIGRATIONS, STORE_VERSION } from './schema.ts'
import { StoreError } from './store-error.ts'

/**
 * How long SQLite waits for another writer, such as a person's sqlite3 shell. The whole daemon waits with it, so it is short:
 * what stops in less than a second must not spend it here.
 */
const BUSY_TIMEOUT_MS = 250

/**
 * After how many pages the log is moved into the main file: some 300 leases and releases, and 16 MB. It takes two waits for the disk
 * and as many writes as different pages were changed, which are mostly the same few.
 */
const CHECKPOINT_PAGES = 4000

/**
 * Opens the store. Makes its tables when the file is new or empty, and brings a store of an earlier version to this one.
 *
 * @throws {StoreError} naming the file, when it is no lease store, one of a version not known here (checklist R35), or lies where
 *   SQLite can't keep a write-ahead log.
 */
export function openDatabase(path: string): DatabaseSync {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS, enableForeignKeyConstraints: true })
    checkFormat(database, path)
    keepWriteAheadLog(database, path)
    // NORMAL: a commit is in the log, but may not be on the disk. SqliteStore syncs the log itself, beside other work.
    database.exec(`PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = ${CHECKPOINT_PAGES};`)
    migrate(database)
    return database
  } catch (cause) {
    database?.close()
    if (cause instanceof StoreError) throw cause
    throw new StoreError(`Cannot open lease store ${path}: ${(cause as Error).message}`, { cause })
  }
}

function checkFormat(database: DatabaseSync, path: string): void {
  const applicationId = numberOf(database, 'PRAGMA application_id')
  const version = numberOf(database, 'PRAGMA user_version')
  const isEmpty = numberOf(database, 'SELECT count(*) FROM sqlite_schema') === 0
  if (isEmpty && version === 0 && applicationId === 0) return
  if (applicationId !== APPLICATION_ID) {
    throw new StoreError(
      `Cannot use lease store ${path}: its application_id is ${applicationId}, want ${APPLICATION_ID}: it is another program's database`,
    )
  }
  if (version < 1 || version > STORE_VERSION) {
    throw new StoreError(
      `Cannot use lease store ${path}: its version is ${version}, want 1 to ${STORE_VERSION}: it was written by a later version of ipamd`,
    )
  }
}

/**
 * Readers go on beside the writer only with a log, and what a power loss may leave is known of a log only. SQLite does not fail where
 * it can't have one, such as on a file system of another machine: it answers with the mode that it stays in.
 */
function keepWriteAheadLog(database: DatabaseSync, path: string): void {
  const { journal_mode: mode } = database.prepare('PRAGMA journal_mode = WAL').get() ?? {}
  // A store in memory, of a test, has no file that a log could be of.
  if (mode === 'wal' || database.location() === null) return
  throw new StoreError(
    `Cannot use lease store ${path}: SQLite keeps its journal there in mode ${JSON.stringify(mode)}, want "wal": a file system of this node, with shared memory`,
  )
}

/** All that is missing in one transaction: after a crash the store has its old version, or the new one. */
function migrate(database: DatabaseSync): void {
  const version = numberOf(database, 'PRAGMA user_version')
  if (version === STORE_VERSION) return
  const marks = `PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${STORE_VERSION};`
  database.exec(`BEGIN IMMEDIATE; ${MIGRATIONS.slice(version).join('')} ${marks} COMMIT;`)
}

/** The first column of the only row. */
function numberOf(database: DatabaseSync, sql: string): number {
  const [value] = Object.values(database.prepare(sql).get() ?? {})
  if (typeof value !== 'number') throw new TypeError(`${sql} gave no number`)
  return value
}

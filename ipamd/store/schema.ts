import { MIGRATION_1 } from './migration-1.ts'
import { MIGRATION_2 } from './migration-2.ts'
import { MIGRATION_3 } from './migration-3.ts'
import { MIGRATION_4 } from './migration-4.ts'
import { MIGRATION_5 } from './migration-5.ts'

/** `PRAGMA application_id`: says that an SQLite file is a lease store of Tulle. The bytes of "tulL". */
export const APPLICATION_ID = 0x74756c4c

/**
 * What makes a store of version n from one of version n - 1, from version 1 on; an empty file has version 0. A new store goes
 * through all of them, so that it can not differ from one that was migrated.
 *
 * A step that was released is never changed: stores that went through it are on disks.
 */
export const MIGRATIONS: readonly string[] = [MIGRATION_1, MIGRATION_2, MIGRATION_3, MIGRATION_4, MIGRATION_5]

/** `PRAGMA user_version`: rises with each change of the tables. A store of a later version is refused (checklist R35). */
export const STORE_VERSION = MIGRATIONS.length

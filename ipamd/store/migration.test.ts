import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { EMPTY_SNAPSHOT } from '../allocator/fake-node.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { formatPrefix } from '../../lib/net/prefix.ts'
import { APPLICATION_ID, STORE_VERSION } from './schema.ts'
import { SqliteStore } from './store.ts'
import { contentsOf } from './test-snapshot.ts'

const BOOT = { bootId: 'boot-2', initStartTicks: 7, hostNetnsInode: 4_026_531_840 }
const VERSION_1 = readFileSync(new URL('fixtures/version-1.sql', import.meta.url), 'utf8')

function pathOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'ipamd-migration-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return join(folder, 'ipam.db')
}

/** A file that version 1 of ipamd has written. */
function storeOfVersion1(t: Test, more = ''): string {
  const path = pathOf(t)
  const database = new DatabaseSync(path)
  database.exec(VERSION_1 + more)
  database.close()
  return path
}

function query(path: string, sql: string): readonly object[] {
  const database = new DatabaseSync(path, { readOnly: true })
  try {
    return database
      .prepare(sql)
      .all()
      .map(row => ({ ...row }))
  } finally {
    database.close()
  }
}

t.test('SqliteStore keeps everything that a store of version 1 has (R35)', async t => {
  const path = storeOfVersion1(t)
  const events = query(path, 'SELECT id, at_unix_ms, kind, reason, block, address, pod_name FROM event ORDER BY id')
  const store = new SqliteStore(path, BOOT)
  const { blocks, leases, freed, reservations } = contentsOf(store)
  t.same(
    blocks.map(({ prefix }) => formatPrefix(prefix)),
    ['10.244.1.0/24', 'fd00:10:244:1::/64'],
  )
  t.same(
    leases.map(({ attachment, addresses }) => [
      attachment.containerId,
      ...addresses.map(({ address }) => formatAddress(address)),
    ]),
    [['a', '10.244.1.2', 'fd00:10:244:1::2']],
  )
  t.same(
    freed.map(({ address, freedAtUnixMs }) => [formatAddress(address), freedAtUnixMs]),
    [['10.244.1.3', 2000]],
  )
  t.same(reservations, [])
  store.commit(leases.map(lease => ({ type: 'released', lease, atUnixMs: 3000, reason: 'del' })))
  store.close()
  t.same(query(path, 'PRAGMA user_version'), [{ user_version: STORE_VERSION }])
  t.same(query(path, 'PRAGMA application_id'), [{ application_id: APPLICATION_ID }])
  const after = query(path, 'SELECT id, at_unix_ms, kind, reason, block, address, pod_name FROM event ORDER BY id')
  t.same(after.slice(0, events.length), events, 'the history too')
  t.match(after[events.length], { id: events.length + 1, kind: 'released', pod_name: 'pod' }, 'and it goes on')
  t.same(query(path, 'PRAGMA foreign_key_check'), [])
})

t.test('a store that was migrated has the tables of a new one', async t => {
  const path = storeOfVersion1(t)
  new SqliteStore(path, BOOT).close()
  const fresh = pathOf(t)
  new SqliteStore(fresh, BOOT).close()
  const schema = 'SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY name'
  t.same(query(path, schema), query(fresh, schema))
})

t.test('a migration that fails changes nothing', async t => {
  const path = storeOfVersion1(t, 'CREATE TABLE reservation (a);')
  t.throws(() => new SqliteStore(path, BOOT), { name: 'StoreError', message: /table reservation already exists/ })
  t.same(query(path, 'PRAGMA user_version'), [{ user_version: 1 }])
  t.same(query(path, 'SELECT count(*) AS n FROM event'), [{ n: 6 }])
})

t.test('SqliteStore refuses a store of the next version', async t => {
  const path = pathOf(t)
  new SqliteStore(path, BOOT).close()
  const database = new DatabaseSync(path)
  database.exec(`PRAGMA user_version = ${STORE_VERSION + 1}`)
  database.close()
  const want = `its version is ${STORE_VERSION + 1}, want 1 to ${STORE_VERSION}: it was written by a later version`
  t.throws(() => new SqliteStore(path, BOOT), { name: 'StoreError', message: new RegExp(want) })
})

t.test('commit() refuses to lease a reserved address to another owner, whatever the allocator says', async t => {
  const path = storeOfVersion1(t)
  const store = new SqliteStore(path, BOOT)
  t.teardown(() => store.close())
  const [block] = store.load().blocks
  if (block === undefined) throw new Error('the fixture has blocks')
  const reservation = { address: parseAddress('10.244.1.9'), pool: 'p', owner: 'ns/db', note: 'n' }
  store.commit([{ type: 'reserved', reservation, atUnixMs: 5 }])
  t.same(store.load().reservations, [reservation])
  const lease = {
    attachment: { network: 'net', containerId: 'x', ifName: 'eth0' },
    pool: 'p',
    addresses: [{ address: reservation.address, block: block.prefix }],
    leasedAtUnixMs: 6,
  }
  for (const owner of [undefined, 'ns/other']) {
    t.throws(() => store.commit([{ type: 'leased', lease: { ...lease, owner }, pod: undefined }]), {
      message: /address is reserved for another owner/,
    })
  }
  const owned = { ...lease, owner: 'ns/db', stickySeconds: 9 }
  store.commit([{ type: 'leased', lease: owned, pod: undefined }])
  t.match(contentsOf(store).leases[1], { owner: 'ns/db', stickySeconds: 9 })
  store.commit([{ type: 'released', lease: owned, atUnixMs: 7, reason: 'reconcile', detail: 'seen' }])
  t.match(contentsOf(store).freed[1], { owner: 'ns/db', stickySeconds: 9 })
  store.commit([{ type: 'unreserved', reservation, atUnixMs: 8 }])
  t.same(store.load().reservations, [])
  t.same(query(path, 'SELECT kind, reason, detail, owner FROM event WHERE id > 6 ORDER BY id'), [
    { kind: 'reserved', reason: null, detail: 'n', owner: 'ns/db' },
    { kind: 'leased', reason: null, detail: null, owner: 'ns/db' },
    { kind: 'released', reason: 'reconcile', detail: 'seen', owner: 'ns/db' },
    { kind: 'unreserved', reason: null, detail: null, owner: 'ns/db' },
  ])
  t.throws(() => store.commit([{ type: 'unreserved', reservation, atUnixMs: 8 }]), { message: /no reservation of 10/ })
})

t.test(
  'commit() gives a block back with its freed addresses, but never one that has a lease (invariant 1)',
  async t => {
    const path = storeOfVersion1(t)
    const store = new SqliteStore(path, BOOT)
    t.teardown(() => store.close())
    const { blocks, leases } = contentsOf(store)
    const returned = blocks.map(block => ({ type: 'block-returned', ...block, atUnixMs: 9 }) as const)
    t.throws(() => store.commit(returned), { message: /FOREIGN KEY constraint failed/ })
    store.commit([
      ...leases.map(lease => ({ type: 'released', lease, atUnixMs: 8, reason: 'del' }) as const),
      ...returned,
    ])
    t.same(contentsOf(store), contentsOf({ load: () => EMPTY_SNAPSHOT }))
    t.throws(() => store.commit(returned), { message: /no block 10\.244\.1\.0\/24 of pool p/ })
    t.match(query(path, 'SELECT kind, block FROM event ORDER BY id DESC LIMIT 1'), [
      { kind: 'block-returned', block: 'fd00:10:244:1::/64' },
    ])
  },
)

t.test('trimEvents() forgets what is too old or too much, a bounded number of rows at once', async t => {
  const path = storeOfVersion1(t)
  const store = new SqliteStore(path, BOOT)
  t.teardown(() => store.close())
  const count = () => query(path, 'SELECT count(*) AS n, min(id) AS first FROM event')[0]
  store.trimEvents({ beforeUnixMs: 0, maxRows: 6 })
  t.same(count(), { n: 6, first: 1 })
  store.trimEvents({ beforeUnixMs: 0, maxRows: 5 })
  t.same(count(), { n: 5, first: 2 })
  store.trimEvents({ beforeUnixMs: 1500, maxRows: 100 })
  t.same(count(), { n: 2, first: 5 })
  const reservation = { address: parseAddress('10.244.1.9'), pool: 'p', owner: 'o' }
  for (let round = 0; round < 600; round += 1) {
    store.commit([
      { type: 'reserved', reservation, atUnixMs: 10_000 },
      { type: 'unreserved', reservation, atUnixMs: 10_000 },
    ])
  }
  store.trimEvents({ beforeUnixMs: 20_000, maxRows: 100 })
  t.same(count(), { n: 202, first: 1005 }, 'a thousand')
  store.trimEvents({ beforeUnixMs: 20_000, maxRows: 100 })
  t.match(count(), { n: 0 })
  t.equal(contentsOf(store).leases.length, 1, 'leases stay')
})

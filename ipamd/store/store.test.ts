import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { EMPTY_SNAPSHOT } from '../allocator/fake-node.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import { parseAddress } from '../../lib/net/address.ts'
import { parsePrefix } from '../../lib/net/prefix.ts'
import type { LeaseEvent } from '../allocator/events.ts'
import { APPLICATION_ID, STORE_VERSION } from './schema.ts'
import { SqliteStore } from './store.ts'
import { contentsOf } from './test-snapshot.ts'

const BOOT = { bootId: 'boot-1', initStartTicks: 7, hostNetnsInode: 4_026_531_840 }
const V4 = parsePrefix('10.244.1.0/24')
const V6 = parsePrefix('fd00:10:244:1::/64')

function pathOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'ipamd-store-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  return join(folder, 'ipam.db')
}

function open(t: Test, path: string): SqliteStore {
  const store = new SqliteStore(path, BOOT)
  t.teardown(() => store.close())
  return store
}

function blockTaken(text: string, pool = 'p'): LeaseEvent {
  return { type: 'block-taken', pool, prefix: parsePrefix(text), atUnixMs: 1 }
}

function leaseOf(containerId: string, v4: string, v6?: string): Lease {
  const addresses = [{ address: parseAddress(v4), block: V4, gateway: parseAddress('10.244.1.1') }]
  if (v6 !== undefined)
    addresses.push({ address: parseAddress(v6), block: V6, gateway: parseAddress('fd00:10:244:1::1') })
  return { attachment: { network: 'net', containerId, ifName: 'eth0' }, pool: 'p', addresses, leasedAtUnixMs: 1000 }
}

function leased(lease: Lease): LeaseEvent {
  return { type: 'leased', lease, pod: { namespace: 'ns', name: 'pod', uid: 'u' } }
}

const BLOCKS = [blockTaken('10.244.1.0/24'), blockTaken('fd00:10:244:1::/64')]

t.test('SqliteStore keeps blocks, leases and the order of freed addresses over a restart (R9)', async t => {
  const path = pathOf(t)
  const store = new SqliteStore(path, BOOT)
  const a = leaseOf('a', '10.244.1.2', 'fd00:10:244:1::2')
  const b = leaseOf('b', '10.244.1.3')
  const c = leaseOf('c', '10.244.1.4')
  store.commit([...BLOCKS, leased(c), leased(b), leased(a)])
  store.commit([
    { type: 'released', lease: c, atUnixMs: 3000, reason: 'del' },
    { type: 'released', lease: b, atUnixMs: 2000, reason: 'collect' },
  ])
  store.close()
  const { blocks, leases, freed } = contentsOf(open(t, path))
  const v4Block = { pool: 'p', prefix: V4 }
  t.same(blocks, [v4Block, { pool: 'p', prefix: V6 }])
  t.same(leases, [a])
  t.same(freed, [
    { address: parseAddress('10.244.1.4'), block: v4Block, freedAtUnixMs: 3000 },
    { address: parseAddress('10.244.1.3'), block: v4Block, freedAtUnixMs: 2000 },
  ])
})

t.test('SqliteStore keeps what this boot is, and a row for each change of an address', async t => {
  const path = pathOf(t)
  const store = open(t, path)
  const lease = leaseOf('a', '10.244.1.2', 'fd00:10:244:1::2')
  store.commit([...BLOCKS, leased(lease), { type: 'released', lease, atUnixMs: 2000, reason: 'spool' }, leased(lease)])
  const database = new DatabaseSync(path, { readOnly: true })
  t.teardown(() => database.close())
  t.same(
    { ...database.prepare('SELECT boot_id, init_start_ticks, host_netns_inode FROM lease').get() },
    {
      boot_id: 'boot-1',
      init_start_ticks: 7,
      host_netns_inode: 4_026_531_840,
    },
  )
  const history = database
    .prepare(
      "SELECT at_unix_ms AS at, kind, reason, container_id AS id, pod_name AS pod FROM event WHERE address = x'0af40102' ORDER BY event.id",
    )
    .all()
  t.same(
    history.map(row => ({ ...row })),
    [
      { at: 1000, kind: 'leased', reason: null, id: 'a', pod: 'pod' },
      { at: 2000, kind: 'released', reason: 'spool', id: 'a', pod: 'pod' },
      { at: 1000, kind: 'leased', reason: null, id: 'a', pod: 'pod' },
    ],
  )
})

const impossible = [
  {
    name: 'a second lease of an address',
    events: [leased(leaseOf('b', '10.244.1.2'))],
    want: /UNIQUE constraint failed: lease_address.address/,
  },
  {
    name: 'a second lease of an attachment',
    events: [leased(leaseOf('a', '10.244.1.3'))],
    want: /UNIQUE constraint failed: lease.network/,
  },
  {
    name: 'two addresses of one family',
    events: [
      leased({
        ...leaseOf('b', '10.244.1.3'),
        addresses: [...leaseOf('b', '10.244.1.3').addresses, ...leaseOf('b', '10.244.1.4').addresses],
      }),
    ],
    want: /UNIQUE constraint failed: lease_address.lease/,
  },
  {
    name: 'an address outside its block',
    events: [leased(leaseOf('b', '10.244.2.3'))],
    want: /address is not in its block/,
  },
  {
    name: 'a block that lies in another one',
    events: [blockTaken('10.244.1.128/25')],
    want: /block overlaps another block/,
  },
  {
    name: 'a block around another one',
    events: [blockTaken('10.244.0.0/16', 'q')],
    want: /block overlaps another block/,
  },
  { name: 'the same block again', events: [blockTaken('fd00:10:244:1::/64')], want: /block overlaps another block/ },
  {
    name: 'the end of a lease that there is not',
    events: [{ type: 'released', lease: leaseOf('b', '10.244.1.3'), atUnixMs: 1, reason: 'del' } as const],
    want: /no lease of net\/b\/eth0/,
  },
] as const
for (const { name, events, want } of impossible) {
  t.test(`commit() refuses ${name}, and stores nothing of the batch (invariant 1)`, async t => {
    const store = open(t, pathOf(t))
    store.commit([...BLOCKS, leased(leaseOf('a', '10.244.1.2'))])
    const before = contentsOf(store)
    t.throws(() => store.commit([leased(leaseOf('x', '10.244.1.99')), ...events]), {
      name: 'StoreError',
      message: want,
    })
    t.same(contentsOf(store), before)
    store.commit([leased(leaseOf('x', '10.244.1.99'))])
  })
}

t.test('the schema refuses that a block or the address of a lease is changed', async t => {
  const path = pathOf(t)
  const store = new SqliteStore(path, BOOT)
  store.commit([...BLOCKS, leased(leaseOf('a', '10.244.1.2'))])
  store.close()
  const database = new DatabaseSync(path)
  t.teardown(() => database.close())
  t.throws(() => database.exec("UPDATE block SET first_address = x'00000000'"), { message: /a block is never changed/ })
  t.throws(() => database.exec("UPDATE lease_address SET address = x'0af40103'"), {
    message: /the address of a lease is never changed/,
  })
  t.throws(() => database.exec('DELETE FROM lease'), { message: /FOREIGN KEY constraint failed/ })
  t.throws(
    () => database.exec("INSERT INTO freed_address (address, block, freed_at_unix_ms) VALUES (x'0af40102', 1, 1)"),
    { message: /freed and leased at once/ },
  )
})

t.test('SqliteStore refuses a store of another version, naming both (R35)', async t => {
  const path = pathOf(t)
  new SqliteStore(path, BOOT).close()
  const database = new DatabaseSync(path)
  database.exec('PRAGMA user_version = 9')
  database.close()
  t.throws(() => new SqliteStore(path, BOOT), {
    name: 'StoreError',
    message: `Cannot use lease store ${path}: its version is 9, want 1 to ${STORE_VERSION}: it was written by a later version of ipamd`,
  })
})

t.test("SqliteStore refuses another program's database, and what is no database", async t => {
  const path = pathOf(t)
  const database = new DatabaseSync(path)
  database.exec('CREATE TABLE a (b)')
  database.close()
  t.throws(() => new SqliteStore(path, BOOT), { name: 'StoreError', message: /another program's database/ })
  writeFileSync(`${path}2`, 'not a database at all, but long enough to be read as one '.repeat(20))
  t.throws(() => new SqliteStore(`${path}2`, BOOT), { name: 'StoreError', message: /file is not a database/ })
})

t.test('SqliteStore takes an empty file as a new store (R41)', async t => {
  const path = pathOf(t)
  writeFileSync(path, '')
  t.same(contentsOf(open(t, path)), contentsOf({ load: () => EMPTY_SNAPSHOT }))
})

t.test('SqliteStore keeps a write-ahead log', async t => {
  const path = pathOf(t)
  open(t, path).probe()
  const database = new DatabaseSync(path, { readOnly: true })
  t.teardown(() => database.close())
  t.same(Object.values(database.prepare('PRAGMA journal_mode').get() ?? {}), ['wal'])
})

t.test('SqliteStore takes nothing more when the disk did not keep what was committed', async t => {
  const path = pathOf(t)
  const store = new SqliteStore(path, BOOT)
  store.commit(BLOCKS)
  // A file that cannot be synced, under the name of the log.
  rmSync(`${path}-wal`)
  symlinkSync('/dev/null', `${path}-wal`)
  const want = { name: 'StoreError', message: `Cannot sync lease store ${path}: EINVAL: invalid argument, fdatasync` }
  await t.rejects(store.whenDurable(), want)
  t.throws(() => store.commit([leased(leaseOf('a', '10.244.1.2'))]), want)
  t.throws(() => store.probe(), want)
  await t.rejects(store.whenDurable(), want)
  t.throws(() => store.close(), { code: 'EINVAL' })
})

t.test('SqliteStore refuses a place where SQLite keeps no write-ahead log, and makes no store there', async t => {
  const path = pathOf(t)
  // Of a file system without shared memory, as SQLite sees one.
  const withoutSharedMemory = `file:${path}?vfs=unix-dotfile`
  t.throws(() => new SqliteStore(withoutSharedMemory, BOOT), {
    name: 'StoreError',
    message: `Cannot use lease store ${withoutSharedMemory}: SQLite keeps its journal there in mode "delete", want "wal": a file system of this node, with shared memory`,
  })
  t.same(contentsOf(open(t, path)), contentsOf({ load: () => EMPTY_SNAPSHOT }), 'elsewhere it is a new store')
})

t.test('SqliteStore names the file when its tables are not there', async t => {
  const path = pathOf(t)
  const database = new DatabaseSync(path)
  database.exec(`PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = ${STORE_VERSION}`)
  database.close()
  t.throws(() => new SqliteStore(path, BOOT), {
    name: 'StoreError',
    message: `Cannot open lease store ${path}: no such table: block`,
  })
})

t.test('close() does not wait for a reader', async t => {
  const path = pathOf(t)
  new SqliteStore(path, BOOT).close()
  const reader = new DatabaseSync(path, { readOnly: true })
  t.teardown(() => reader.close())
  let fastestMs = Infinity
  // A busy machine may stretch one of them; a store that waits does so each time, for its busy_timeout of 250 ms.
  for (let tries = 0; tries < 5 && fastestMs >= 250; tries++) {
    const store = new SqliteStore(path, BOOT)
    store.commit(tries === 0 ? BLOCKS : [])
    reader.exec('BEGIN; SELECT * FROM lease')
    store.probe()
    const startedAtMs = performance.now()
    store.close()
    fastestMs = Math.min(fastestMs, performance.now() - startedAtMs)
    reader.exec('COMMIT')
  }
  t.ok(fastestMs < 250, `${fastestMs} ms`)
})

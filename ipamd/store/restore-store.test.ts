import { copyFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import t, { type Test } from 'tap'
import type { Lease } from '../../lib/ipam/lease.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { formatPrefix, parsePrefix } from '../../lib/net/prefix.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import type { LeaseEvent } from '../allocator/events.ts'
import type { Pool } from '../allocator/pool.ts'
import { parseConfig } from '../config.ts'
import { jsonLog } from '../../lib/log/json-log.ts'
import type { LeaseMark } from './lease-mark.ts'
import { rebuild } from './rebuild.ts'
import { restoreStore } from './restore-store.ts'
import { examineStore } from './store-health.ts'
import { SqliteStore } from './store.ts'
import { contentsOf } from './test-snapshot.ts'

const NOW = 1_700_000_000_000
const BOOT = { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 }
const { pools } = parseConfig(
  JSON.stringify({
    socket: '/run/t/s',
    stateDir: '/var/lib/t',
    pools: [{ name: 'default', prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'] }],
  }),
  'n1',
)

function mark(containerId: string, ...addresses: readonly string[]): LeaseMark {
  return { attachment: { network: 'net', containerId, ifName: 'eth0' }, addresses: addresses.map(parseAddress) }
}

function leasesOf(events: readonly LeaseEvent[]): readonly string[] {
  return events.flatMap(event => (event.type === 'leased' ? [textOf(event.lease)] : []))
}

function textOf({ attachment, addresses }: Lease): string {
  return `${attachment.containerId} ${addresses.map(({ address }) => formatAddress(address)).join()}`
}

const cases = [
  {
    name: 'makes a lease of each mark',
    kernel: [mark('a', '10.244.0.7', 'fd00:10:244::7'), mark('b', '10.244.3.9')],
    damagedStore: [],
    want: ['a 10.244.0.7,fd00:10:244::7', 'b 10.244.3.9'],
    refused: [],
  },
  {
    name: 'believes the kernel more than a damaged store',
    kernel: [mark('a', '10.244.0.7')],
    damagedStore: [mark('a', '10.244.0.8'), mark('b', '10.244.0.7'), mark('c', '10.244.0.9')],
    want: ['a 10.244.0.7', 'c 10.244.0.9'],
    refused: ['net/b/eth0: 10.244.0.7: another attachment has it'],
  },
  {
    name: 'leaves out what is in no pool',
    kernel: [mark('a', '10.99.0.1'), mark('b', '10.99.0.2', 'fd00:10:244::7')],
    damagedStore: [],
    want: ['b fd00:10:244::7'],
    refused: ['net/a/eth0: 10.99.0.1: in no pool'],
  },
  {
    name: 'refuses two addresses of a family',
    kernel: [mark('a', '10.244.0.7', '10.244.0.8')],
    damagedStore: [],
    want: [],
    refused: ['net/a/eth0: 10.244.0.7, 10.244.0.8: more than one of a family'],
  },
]
for (const { name, kernel, damagedStore, want, refused } of cases) {
  t.test(`rebuild() ${name}`, async t => {
    const rebuilt = rebuild(pools, { kernel, damagedStore }, NOW)
    t.same(leasesOf(rebuilt.events), want)
    t.same(rebuilt.refused, refused)
  })
}

const overlapping = [
  {
    name: 'carves no block over one that the node had, when blocks are larger by now',
    kernel: [mark('a', '10.244.0.7'), mark('b', '10.244.0.200'), mark('c', '10.244.0.100')],
    blocks: ['10.244.0.0/26'],
    want: ['10.244.0.0/26', '10.244.0.128/25', '10.244.0.64/26'],
  },
  {
    name: 'carves no block over one that another node has',
    kernel: [mark('b', '10.244.0.200')],
    granted: ['10.244.0.0/26'],
    want: ['10.244.0.128/25'],
  },
  {
    name: 'believes the first of blocks that overlap',
    kernel: [mark('a', '10.244.0.7'), mark('b', '10.244.1.7')],
    blocks: ['10.244.1.0/24', '10.244.0.0/23'],
    want: ['10.244.0.0/24', '10.244.1.0/24'],
  },
] as const
for (const { name, kernel, want, ...had } of overlapping) {
  t.test(`rebuild() ${name} (invariant 1)`, async t => {
    const { blocks = [], granted = [] } = had as {
      readonly blocks?: readonly string[]
      readonly granted?: readonly string[]
    }
    const evidence = { kernel, damagedStore: [], blocks: blocks.map(parsePrefix), granted: granted.map(parsePrefix) }
    const { events } = rebuild(pools, evidence, NOW)
    const taken = events.flatMap(event => (event.type === 'block-taken' ? [formatPrefix(event.prefix)] : []))
    t.same(taken.toSorted(), want.toSorted())
    const store = new SqliteStore(':memory:', BOOT)
    store.commit(events)
    t.equal(contentsOf(store).leases.length, kernel.length)
    store.close()
  })
}

interface Rig {
  readonly folder: string
  readonly path: string
  readonly log: string[]
  readonly restore: (marks?: readonly LeaseMark[]) => Promise<readonly string[]>
}

/** A store with 30 leases, c0 to c29, from 10.244.0.10 on. */
function rig(t: Test): Rig {
  const folder = mkdtempSync(join(tmpdir(), 'tulle-restore-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'ipam.db')
  const log: string[] = []
  const store = new SqliteStore(path, BOOT)
  const marks = Array.from({ length: 30 }, (_, index) => mark(`c${index}`, `10.244.0.${10 + index}`))
  store.commit(rebuild(pools, { kernel: marks, damagedStore: [] }, NOW).events)
  store.close()
  return {
    folder,
    path,
    log,
    restore: async (kernel = []) => {
      const edges = {
        log: jsonLog(line => log.push(line)),
        boot: BOOT,
        nowUnixMs: () => NOW,
        readMarks: async () => kernel,
      }
      await restoreStore(path, { pools, edges, by: Deadline.in(1000) })
      const restored = new SqliteStore(path, BOOT)
      const leases = contentsOf(restored).leases
      restored.close()
      return leases.map(textOf)
    },
  }
}

function namesIn(folder: string): readonly string[] {
  return readdirSync(folder).toSorted()
}

t.test('restoreStore() leaves a sound store alone', async t => {
  const { folder, restore, log } = rig(t)
  t.equal((await restore([mark('x', '10.244.9.9')])).length, 30)
  t.same(namesIn(folder), ['ipam.db'])
  t.same(log, [])
})

t.test('restoreStore() makes a store that is missing from the marks in the kernel, and says so', async t => {
  const { path, restore, log } = rig(t)
  rmSync(path)
  t.same(await restore([mark('a', '10.244.0.7')]), ['a 10.244.0.7'])
  t.match(log.join(), 'lease store was missing')
})

t.test('restoreStore() takes a file of zero bytes for a missing one (R41)', async t => {
  const { path, restore } = rig(t)
  writeFileSync(path, '')
  t.same(await restore([mark('a', '10.244.0.7')]), ['a 10.244.0.7'])
})

const damages = [
  { name: 'a file of garbage', damage: (path: string) => writeFileSync(path, 'no database'.repeat(999)) },
  { name: 'a truncated file', damage: (path: string) => truncateSync(path, 3 * 4096) },
  { name: 'an emptied file with a log', damage: (path: string) => emptyWithLog(path) },
  { name: 'a page of bytes turned over', damage: (path: string) => turnOver(path, { from: 8 * 4096, to: 9 * 4096 }) },
  { name: 'a header turned over', damage: (path: string) => turnOver(path, { from: 0, to: 64 }) },
]
for (const { name, damage } of damages) {
  t.test(`restoreStore() moves ${name} aside, and has the leases of live pods again`, async t => {
    const { folder, path, restore, log } = rig(t)
    damage(path)
    const damaged = readFileSync(path)
    const leases = await restore([mark('c3', '10.244.0.13'), mark('new', '10.244.7.7')])
    t.ok(leases.includes('c3 10.244.0.13') && leases.includes('new 10.244.7.7'), 'what the kernel has')
    const aside = namesIn(folder).filter(file => file.includes('.damaged-') && !file.endsWith('-wal'))
    t.equal(aside.length, 1)
    t.same(readFileSync(join(folder, aside[0] ?? '')), damaged, 'what was there is kept for a person')
    t.match(log.join(), 'lease store was damaged, and is made anew')
    t.match(log.join(), aside[0], 'the log names it')
    t.same(await restore(), leases, 'the next start finds a sound store')
  })
}

t.test('restoreStore() keeps the last three damaged stores, and says what it removes', async t => {
  const { folder, path, restore, log } = rig(t)
  const moments = ['2023-11-10', '2023-11-11', '2023-11-13', '2031-01-01'].map(
    day => `${path}.damaged-${day}T000000.000Z`,
  )
  for (const [index, store] of moments.entries()) writeFileSync(store, 'x'.repeat(100 + index))
  writeFileSync(`${moments[0]}-wal`, 'frames')
  // Of somebody else, or by hand.
  writeFileSync(`${path}.copy`, '')
  writeFileSync(path, 'no database'.repeat(999))
  await restore()
  const kept = namesIn(folder).filter(name => name !== 'ipam.db')
  t.same(kept, [
    'ipam.db.copy',
    'ipam.db.damaged-2023-11-13T000000.000Z',
    'ipam.db.damaged-2023-11-14T221320.000Z',
    'ipam.db.damaged-2031-01-01T000000.000Z',
  ])
  t.match(log.join('\n'), /old damaged store was removed.*2023-11-10.*"bytes":106/)
  t.match(log.join('\n'), /old damaged store was removed.*2023-11-11.*"bytes":101/)
  t.match(log.join('\n'), /store was damaged, and is made anew.*"bytes":10989/)
})

t.test(
  'restoreStore() keeps the damaged store that it has just moved aside, though the clock was set back',
  async t => {
    const { folder, path, restore } = rig(t)
    for (const year of [2031, 2032, 2033]) writeFileSync(`${path}.damaged-${year}-01-01T000000.000Z`, '')
    writeFileSync(path, 'no database'.repeat(999))
    await restore()
    t.same(namesIn(folder).slice(1), [
      'ipam.db.damaged-2023-11-14T221320.000Z',
      'ipam.db.damaged-2032-01-01T000000.000Z',
      'ipam.db.damaged-2033-01-01T000000.000Z',
    ])
  },
)

t.test(
  'restoreStore() keeps what can be read of a damaged store: interfaces of other plugins have no mark',
  async t => {
    const { path, restore } = rig(t)
    // An index page: the tables can still be read.
    turnOver(path, pageOfIndex(path))
    const leases = await restore([mark('c3', '10.244.0.13')])
    t.equal(leases.length, 30)
  },
)

for (const { index, change, is } of [
  { index: 'lease_address_by_block', change: 'DELETE FROM lease_address', is: 'damaged' },
  {
    index: 'freed_address_by_block',
    change: "INSERT INTO freed_address VALUES (9, x'01020304', 1, 5, NULL, 0)",
    is: 'damaged',
  },
  {
    index: 'block_by_range',
    change: "INSERT INTO block VALUES (9, 'p', 4, '1.2.3.4/32', x'01020304', x'01020304', 1, NULL)",
    is: 'damaged',
  },
  { index: 'event_by_container', change: 'DELETE FROM event', is: 'sound' },
] as const) {
  t.test(`examineStore() finds a store ${is} whose ${index} does not have what its table has`, async t => {
    const { path } = rig(t)
    withoutIndex(path, { index, change })
    t.equal(examineStore(path).is, is)
  })
}

function withoutTrigger(path: string, change: string): void {
  using database = new DatabaseSync(path)
  database.exec(`DROP TRIGGER block_is_never_changed; ${change}`)
}

/** Changes a table so that one of its indexes does not know. */
function withoutIndex(path: string, { index, change }: { readonly index: string; readonly change: string }): void {
  const run = (sql: string, ...parameters: readonly SQLInputValue[]): void => {
    using database = new DatabaseSync(path, { defensive: false })
    database.exec('PRAGMA writable_schema = ON')
    database.prepare(sql).run(...parameters)
  }
  using reader = new DatabaseSync(path)
  const row = Object.values(reader.prepare('SELECT * FROM sqlite_schema WHERE name = ?').get(index) ?? {})
  run('DELETE FROM sqlite_schema WHERE name = ?', index)
  run(change)
  run('INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)', ...row)
}

t.test('restoreStore() starts although blocks in the damaged store overlap each other', async t => {
  const { path, restore } = rig(t)
  const store = new SqliteStore(path, BOOT)
  const taken = ['10.244.8.0/24', '10.244.9.0/24'].map(text => ({
    pool: 'default',
    prefix: parsePrefix(text),
    node: 'n2',
  }))
  store.commit(taken.map(block => ({ type: 'block-taken', ...block, atUnixMs: NOW })))
  store.close()
  // What damage may leave: the text of one says that it is in the other.
  withoutTrigger(path, "UPDATE block SET prefix = '10.244.8.0/25' WHERE prefix = '10.244.9.0/24'")
  turnOver(path, pageOfIndex(path))
  t.equal((await restore()).length, 30)
})

t.test('restoreStore() goes on where a crash left it', async t => {
  const { folder, path, restore } = rig(t)
  const other = rig(t)
  copyFileSync(other.path, `${path}.rebuilt`)
  writeFileSync(path, 'no database')
  t.equal((await restore()).length, 30)
  t.notOk(namesIn(folder).includes('ipam.db.rebuilt'))
})

t.test('restoreStore() makes nothing without the marks: addresses of live pods would be leased again', async t => {
  const { path } = rig(t)
  writeFileSync(path, 'no database'.repeat(999))
  const readMarks = async () => {
    throw new Error('no netlink')
  }
  const edges = { log: jsonLog(() => {}), boot: BOOT, nowUnixMs: () => NOW, readMarks }
  await t.rejects(restoreStore(path, { pools, edges, by: Deadline.in(1000) }), /no netlink/)
  t.match(readFileSync(path, 'utf8'), /^no database/, 'it stays where it is')
})

t.test('restoreStore() leaves a store of a later version alone, which opening it then refuses (R35)', async t => {
  const { folder, path, restore } = rig(t)
  const database = new DatabaseSync(path)
  database.exec('PRAGMA user_version = 99')
  database.close()
  await t.rejects(restore(), /its version is 99/)
  t.same(namesIn(folder), ['ipam.db'])
})

t.test('rebuild() gives a block to each address, once', async t => {
  const { events } = rebuild(
    pools,
    { kernel: [mark('a', '10.244.0.7'), mark('b', '10.244.0.8')], damagedStore: [] },
    NOW,
  )
  const blocks = events.filter(event => event.type === 'block-taken')
  t.same(
    blocks.map(({ prefix }) => prefix),
    [parsePrefix('10.244.0.0/24')],
  )
})

function emptyWithLog(path: string): void {
  writeFileSync(`${path}-wal`, 'frames')
  writeFileSync(path, '')
}

function turnOver(path: string, { from, to }: { readonly from: number; readonly to: number }): void {
  const content = readFileSync(path)
  for (let at = from; at < to; at++) content[at] = ~(content[at] ?? 0) & 0xff
  writeFileSync(path, content)
}

function pageOfIndex(path: string): { readonly from: number; readonly to: number } {
  using database = new DatabaseSync(path)
  const row = database.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'lease_address_by_block'").get()
  const page = Number(row?.['rootpage'])
  return { from: (page - 1) * 4096, to: page * 4096 }
}

t.test('restoreStore() keeps the reservations of a damaged store: nothing else knows of them', async t => {
  const { path, restore } = rig(t)
  const reservations = ['10.244.0.20', '10.244.0.99', 'fd00:10:244::9'].map(address => ({
    address: parseAddress(address),
    pool: 'default',
    owner: 'ns/db-0',
    note: 'of the database',
  }))
  const store = new SqliteStore(path, BOOT)
  store.commit(reservations.map(reservation => ({ type: 'reserved', reservation, atUnixMs: NOW })))
  store.close()
  {
    using database = new DatabaseSync(path, { enableForeignKeyConstraints: false })
    database.exec("DELETE FROM lease WHERE container_id = 'c0'")
  }
  t.equal((await restore()).length, 29)
  const restored = new SqliteStore(path, BOOT)
  t.same(restored.load().reservations, reservations)
  restored.close()
})

t.test('restoreStore() keeps what a damaged store says of other nodes’ blocks and of pod CIDRs', async t => {
  const { path, restore } = rig(t)
  const store = new SqliteStore(path, BOOT)
  const grantee = { node: 'n2', instance: '1:2', sequence: 7 }
  store.commit([
    { type: 'block-taken', pool: 'default', prefix: parsePrefix('10.244.9.0/24'), node: 'n2', atUnixMs: NOW },
    { type: 'grantee-seen', grantee },
    { type: 'upstream-asked', pool: 'other', sequence: 3 },
    { type: 'pod-cidrs-handed-over', pool: 'pods', podCidrs: [parsePrefix('10.1.0.0/24')] },
  ])
  store.close()
  {
    using database = new DatabaseSync(path, { enableForeignKeyConstraints: false })
    database.exec("DELETE FROM lease WHERE container_id = 'c0'")
  }
  await restore()
  const restored = new SqliteStore(path, BOOT)
  const { blocks, grantees, sequences, podCidrs } = restored.load()
  restored.close()
  t.same(
    blocks.filter(({ node }) => node !== undefined),
    [{ pool: 'default', prefix: parsePrefix('10.244.9.0/24'), node: 'n2' }],
  )
  t.same(grantees, [grantee])
  t.same(sequences, [{ pool: 'other', sequence: 3 }])
  t.same(podCidrs, [{ pool: 'pods', prefix: parsePrefix('10.1.0.0/24') }])
})

t.test('rebuild() takes blocks as the node had them, also those that were handed over', async t => {
  const handedOver = { ...pools[0], name: 'pods', prefixes: [], blockSource: { type: 'kubernetes' } } as const
  const blocks = ['10.1.0.0/24', '10.244.3.0/26'].map(parsePrefix)
  const kernel = [mark('a', '10.1.0.9'), mark('b', '10.244.3.7'), mark('c', '10.2.0.1')]
  const { events, refused } = rebuild([...pools, handedOver as Pool], { kernel, damagedStore: [], blocks }, NOW)
  t.same(
    events.flatMap(event => (event.type === 'block-taken' ? [`${event.pool} ${formatPrefix(event.prefix)}`] : [])),
    ['pods 10.1.0.0/24', 'default 10.244.3.0/26'],
  )
  t.same(leasesOf(events), ['a 10.1.0.9', 'b 10.244.3.7'])
  t.same(refused, ['net/c/eth0: 10.2.0.1: in no pool'])
})

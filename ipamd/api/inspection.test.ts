import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import t from 'tap'
import { parseBlocksReply, parseHistoryReply, parseLeasePage, type LeasePage } from '../../lib/ipam/inspection.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { formatPrefix } from '../../lib/net/prefix.ts'
import { historySql } from '../store/history.ts'
import { post, send } from '../test-request.ts'
import { startForTest, type TestDaemon } from './test-daemon.ts'

const T0 = 1_700_000_000_000
const POD = { namespace: 'default', name: 'web-0', uid: 'u1' }

function attachment(containerId: string, network = 'net') {
  return { network, containerId, ifName: 'eth0' }
}

async function lease(daemon: TestDaemon, containerId: string, atMs: number): Promise<void> {
  daemon.nowUnixMs = T0 + atMs
  const { status } = await post(daemon.socket, '/v1/leases', { attachment: attachment(containerId), pod: POD })
  if (status !== 200) throw new Error(`no lease for ${containerId}: ${status}`)
}

async function release(daemon: TestDaemon, containerId: string, atMs: number): Promise<void> {
  daemon.nowUnixMs = T0 + atMs
  await post(daemon.socket, '/v1/leases/release', { attachment: attachment(containerId) })
}

/** Tenures as "address container from-until reason", in milliseconds after T0. */
async function tenures(daemon: TestDaemon, query: string): Promise<readonly string[]> {
  const { body } = await send(daemon.socket, { path: `/v1/history?${query}` })
  return parseHistoryReply(body).tenures.map(
    ({ address, attachment, leasedAtUnixMs, releasedAtUnixMs, reason = '' }) =>
      `${formatAddress(address)} ${attachment.containerId} ${after(leasedAtUnixMs)}-${after(releasedAtUnixMs)} ${reason}`,
  )
}

function after(unixMs: number | undefined): string {
  return unixMs === undefined ? '' : String(unixMs - T0)
}

/** One address, held by a from 10 to 20, by b from 100 to 200, and by c from 300 on. */
async function threeTenants(): Promise<TestDaemon> {
  const daemon = await startForTest({ prefixes: ['10.0.0.0/30'], cooldownSeconds: 0 })
  await lease(daemon, 'a', 10)
  await release(daemon, 'a', 20)
  await lease(daemon, 'b', 100)
  await release(daemon, 'b', 200)
  await lease(daemon, 'c', 300)
  return daemon
}

const A = '10.0.0.2 a 10-20 del'
const B = '10.0.0.2 b 100-200 del'
const C = '10.0.0.2 c 300- '

t.test('GET /v1/history says who held an address, and when', async t => {
  await using daemon = await threeTenants()
  const cases = [
    { name: 'all, the latest first', query: 'address=10.0.0.2', want: [C, B, A] },
    { name: 'in the first tenure', query: `address=10.0.0.2&at=${T0 + 15}`, want: [A] },
    { name: 'its first millisecond is in it', query: `address=10.0.0.2&at=${T0 + 100}`, want: [B] },
    { name: 'its end is not', query: `address=10.0.0.2&at=${T0 + 200}`, want: [] },
    { name: 'between two', query: `address=10.0.0.2&at=${T0 + 50}`, want: [] },
    { name: 'the one that lasts', query: `address=10.0.0.2&at=${T0 + 10_000}`, want: [C] },
    { name: 'before all', query: `address=10.0.0.2&at=${T0}`, want: [] },
    { name: 'at a moment in words', query: 'address=10.0.0.2&at=2023-11-14T22:13:20.150Z', want: [B] },
    { name: 'at a moment of another zone', query: 'address=10.0.0.2&at=2023-11-14T23:13:20.150%2B01:00', want: [B] },
    { name: 'an address that nobody held', query: 'address=10.0.0.1', want: [] },
    { name: 'what a container held', query: 'containerId=b', want: [B] },
    { name: 'what a container holds', query: 'containerId=c&network=net&ifName=eth0', want: [C] },
    { name: 'in another network', query: 'containerId=c&network=other', want: [] },
  ]
  for (const { name, query, want } of cases) t.same(await tenures(daemon, query), want, name)
})

t.test('GET /v1/history has a limit, and says that there is more', async t => {
  await using daemon = await threeTenants()
  for (const [limit, count, hasMore] of [
    [1, 1, true],
    [2, 2, true],
    [3, 3, false],
  ] as const) {
    const { body } = await send(daemon.socket, { path: `/v1/history?address=10.0.0.2&limit=${limit}` })
    t.match(body, { hasMore })
    t.equal((body['tenures'] as unknown[]).length, count)
  }
})

t.test('GET /v1/history knows a lease that holds, and an end, whose beginning is not kept any more', async t => {
  await using daemon = await threeTenants()
  const database = new DatabaseSync(join(daemon.folder, 'state', 'ipam.db'))
  // What retention does: block-taken, a, a, b go; the end of b stays.
  database.exec('DELETE FROM event WHERE id <= 4')
  t.same(await tenures(daemon, 'address=10.0.0.2'), [C, '10.0.0.2 b -200 del'])
  database.exec('DELETE FROM event')
  database.close()
  t.same(await tenures(daemon, 'address=10.0.0.2'), [C])
})

t.test('GET /v1/history has the pod', async t => {
  await using daemon = await threeTenants()
  const { body } = await send(daemon.socket, { path: '/v1/history?address=10.0.0.2&limit=1' })
  t.match(body, { tenures: [{ pod: POD, block: '10.0.0.0/30', pool: 'default' }] })
})

for (const { query, detail } of [
  { query: 'network=net', detail: 'query: want address, containerId or both' },
  { query: 'address=10.0.0', detail: /^query.address: Cannot parse address "10.0.0": / },
  { query: 'address=10.0.0.2&at=2023-11-14T22:13:20', detail: /^query.at: "2023-11-14T22:13:20": want RFC 3339/ },
  { query: 'address=10.0.0.2&at=yesterday', detail: /^query.at: "yesterday": want RFC 3339/ },
  { query: 'address=10.0.0.2&at=2023-02-30T00:00:00Z', detail: /^query.at: / },
  { query: 'address=10.0.0.2&limit=1001', detail: 'query.limit: "1001": want a number from 1 to 1000' },
]) {
  t.test(`GET /v1/history refuses ${query}`, async t => {
    await using daemon = await startForTest()
    t.match(await send(daemon.socket, { path: `/v1/history?${query}` }), { status: 400, body: { detail } })
  })
}

t.test('GET /v1/leases gives every lease once, page by page, whatever ends meanwhile', async t => {
  await using daemon = await startForTest()
  const ids = Array.from({ length: 25 }, (_, index) => `c${index}`)
  for (const id of ids) await lease(daemon, id, 0)
  const seen: string[] = []
  let after = 0
  for (;;) {
    const { body } = await send(daemon.socket, { path: `/v1/leases?limit=10&after=${after}` })
    const page: LeasePage = parseLeasePage(body)
    seen.push(...page.leases.map(({ attachment }) => attachment.containerId))
    if (page.next === undefined) break
    after = page.next
    // The lease that the next page begins behind.
    await release(daemon, seen.at(-1) ?? '', 0)
  }
  t.same(seen, ids)
})

t.test('GET /v1/leases has no next page when the last one is full', async t => {
  await using daemon = await startForTest()
  for (const id of ['a', 'b']) await lease(daemon, id, 0)
  const { body } = await send(daemon.socket, { path: '/v1/leases?limit=2' })
  t.equal((body['leases'] as unknown[]).length, 2)
  t.notOk('next' in body)
})

t.test('GET /v1/leases finds by every part', async t => {
  await using daemon = await startForTest()
  await lease(daemon, 'a', 0)
  await post(daemon.socket, '/v1/leases', { attachment: attachment('b', 'other'), pod: { ...POD, name: 'web-1' } })
  await post(daemon.socket, '/v1/leases', { attachment: attachment('c') })
  const cases: readonly (readonly [string, readonly string[]])[] = [
    ['', ['a', 'b', 'c']],
    ['network=other', ['b']],
    ['containerId=c', ['c']],
    ['network=net&containerId=a&ifName=eth0', ['a']],
    ['network=net&containerId=a&ifName=eth1', []],
    ['podNamespace=default', ['a', 'b']],
    ['podNamespace=default&podName=web-1', ['b']],
    ['address=10.244.0.4', ['c']],
    ['address=fd00:10:244::3', ['b']],
    ['address=10.244.9.9', []],
    ['pool=default', ['a', 'b', 'c']],
    ['pool=other', []],
  ]
  for (const [query, want] of cases) {
    const { body } = await send(daemon.socket, { path: `/v1/leases?${query}` })
    const found = parseLeasePage(body).leases.map(lease => lease.attachment.containerId)
    t.same(found, want, query)
  }
})

t.test('GET /v1/blocks reports the blocks with what is leased and freed', async t => {
  await using daemon = await startForTest()
  t.same((await send(daemon.socket, { path: '/v1/blocks' })).body, { blocks: [] })
  for (const id of ['a', 'b', 'c']) await lease(daemon, id, 5)
  await release(daemon, 'b', 6)
  const { body } = await send(daemon.socket, { path: '/v1/blocks' })
  const counts = { pool: 'default', takenAtUnixMs: T0 + 5, leased: 2, freed: 1 }
  t.same(
    parseBlocksReply(body).map(({ prefix, ...rest }) => ({ ...rest, prefix: formatPrefix(prefix) })),
    [
      { ...counts, prefix: '10.244.0.0/24' },
      { ...counts, prefix: 'fd00:10:244::/64' },
    ],
  )
})

t.test('the history of an address and of a container is found by an index, however long the history is', async t => {
  await using daemon = await startForTest()
  await lease(daemon, 'a', 0)
  using database = new DatabaseSync(join(daemon.folder, 'state', 'ipam.db'), { readOnly: true })
  for (const [query, index] of [
    [{ address: parseAddress('10.244.0.2'), limit: 1 }, 'event_by_address'],
    [{ containerId: 'a', limit: 1 }, 'event_by_container'],
    [{ network: 'net', containerId: 'a', ifName: 'eth0', limit: 1 }, 'event_by_container'],
  ] as const) {
    const { sql, parameters } = historySql(query)
    const plan = database.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(...parameters)
    const details = plan.map(row => String(row['detail']))
    t.ok(
      details.some(detail => detail.includes(`SEARCH event USING INDEX ${index}`)),
      details.join('\n'),
    )
    t.notOk(
      details.some(detail => detail.startsWith('SCAN event')),
      details.join('\n'),
    )
  }
})

t.test('POST /v1/backup keeps nobody waiting: who asks for a lease meanwhile gets it', async t => {
  await using daemon = await startForTest()
  await lease(daemon, 'a', 0)
  const file = join(daemon.folder, 'copy.db')
  const backup = post(daemon.socket, '/v1/backup', { file })
  await lease(daemon, 'b', 1)
  t.equal((await backup).status, 200)
  using copy = new DatabaseSync(file, { readOnly: true })
  t.match(copy.prepare('PRAGMA integrity_check').get(), { integrity_check: 'ok' })
  t.match(copy.prepare('SELECT container_id FROM lease ORDER BY id').get(), { container_id: 'a' })
})

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { parseAddress } from '../lib/net/address.ts'
import { formatPrefix, parsePrefix } from '../lib/net/prefix.ts'
import type { Pool } from './allocator/pool.ts'
import { LeaseService } from './lease-service.ts'
import { StoreError } from './store/store-error.ts'
import { SqliteStore, type Store } from './store/store.ts'

const POOL: Pool = {
  name: 'p',
  prefixes: [parsePrefix('10.0.0.0/24')],
  blockPrefixLength: { 4: 24, 6: 64 },
  exclude: [],
  cooldownMs: 0,
}

/** A store in memory that counts its commits, and fails while it is told to. */
class WatchedStore implements Store {
  readonly #real = new SqliteStore(':memory:', { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 })
  commits = 0
  isBroken = false
  /** How often it was asked to get to the disk. */
  syncs = 0
  /** What whenDurable() waits for. */
  synced: Promise<void> = Promise.resolve()

  load(): ReturnType<Store['load']> {
    return this.#real.load()
  }

  commit(events: Parameters<Store['commit']>[0]): void {
    this.probe()
    this.commits += 1
    this.#real.commit(events)
  }

  whenDurable(): Promise<void> {
    this.syncs += 1
    return this.synced
  }

  probe(): void {
    if (this.isBroken) throw new StoreError('Cannot write lease store x: disk full')
  }

  oldestEventUnixMs(): number | undefined {
    return this.#real.oldestEventUnixMs()
  }

  trimEvents(bounds: Parameters<Store['trimEvents']>[0]): boolean {
    return this.#real.trimEvents(bounds)
  }

  close(): void {
    this.#real.close()
  }
}

function serviceOn(store: Store): LeaseService {
  const edges = {
    nowUnixMs: () => 1000,
    uptimeMs: () => 0,
    onBlockTaken: async () => {},
    onBlockReturned: async () => {},
  }
  return new LeaseService([POOL], { store, ...edges })
}

function ask(containerId: string) {
  return { attachment: { network: 'net', containerId, ifName: 'eth0' } }
}

t.test('requests of one turn share one commit, and see each other', async t => {
  const store = new WatchedStore()
  const service = serviceOn(store)
  const [a, b, again, freed] = await Promise.all([
    service.allocate(ask('a')),
    service.allocate(ask('b')),
    service.allocate(ask('a')),
    service.release(ask('b'), 'del'),
  ])
  t.equal(store.commits, 1)
  t.same(again, { ...a, isNew: false })
  t.not(b.lease.addresses[0]?.address.value, a.lease.addresses[0]?.address.value)
  t.equal(freed.kind, 'released')
  t.equal((await service.find({})).length, 1)
})

t.test('a refusal in a batch does not touch the others', async t => {
  const service = serviceOn(new WatchedStore())
  const [refused, leased] = await Promise.allSettled([
    service.allocate({ ...ask('a'), pool: 'x' }),
    service.allocate(ask('b')),
  ])
  t.match(refused, { status: 'rejected', reason: { name: 'IpamProblem', type: 'unknown-pool' } })
  t.equal(leased.status, 'fulfilled')
})

t.test('nothing is answered that was not stored, and nothing of it is remembered (invariant 2)', async t => {
  const store = new WatchedStore()
  const service = serviceOn(store)
  store.isBroken = true
  await t.rejects(service.allocate(ask('a')), { name: 'IpamProblem', message: /disk full/ })
  t.same(await service.find({}), [])
  await t.rejects(service.checkReady(undefined), { name: 'IpamProblem', message: /disk full/ }, 'the status says so')
  store.isBroken = false
  await service.checkReady(undefined)
  t.equal((await service.allocate(ask('a'))).isNew, true)
})

t.test('a lease is known when it is stored, and answered when it is durable (invariant 2)', async t => {
  const store = new WatchedStore()
  const service = serviceOn(store)
  const { promise, resolve } = Promise.withResolvers<void>()
  store.synced = promise
  const answered: string[] = []
  const allocating = service.allocate(ask('a')).then(() => answered.push('allocate'))
  const { reply, whenDurable } = await service.lease(ask('b'))
  t.equal(reply.isNew, true)
  const waiting = whenDurable().then(() => answered.push('lease'))
  const ended = await service.end(ask('b'), 'del')
  t.equal(ended.reply.kind, 'released', 'and may be ended before')
  t.same(answered, [])
  resolve()
  await Promise.all([allocating, waiting])
  t.same(answered.toSorted(), ['allocate', 'lease'])
})

t.test('the clock gets to the disk, though nobody waits for it', async t => {
  const store = new WatchedStore()
  const service = serviceOn(store)
  service.storeClockStep()
  t.same([store.commits, store.syncs], [1, 1])
  service.storeClockStep()
  t.same([store.commits, store.syncs], [1, 1], 'once')
})

t.test('a disk that does not keep what is stored is a refusal, and the status says so', async t => {
  const store = new WatchedStore()
  const service = serviceOn(store)
  store.synced = Promise.reject(new StoreError('Cannot sync lease store x: EIO'))
  store.synced.catch(() => {})
  await t.rejects(service.allocate(ask('a')), { name: 'IpamProblem', message: /EIO/ })
  await t.rejects(service.checkReady(undefined), { name: 'IpamProblem', message: /EIO/ })
})

t.test('a store that can not be read any more is a refusal, until it can be again', async t => {
  const store = new WatchedStore()
  const service = serviceOn(store)
  const load = store.load.bind(store)
  store.isBroken = true
  await t.rejects(service.allocate(ask('a')))
  store.load = () => {
    throw new StoreError('Cannot read lease store x: gone')
  }
  await t.rejects(service.find({}), { name: 'IpamProblem', message: /gone/ })
  store.load = load
  t.same(await service.find({}), [])
})

t.test(
  'a lease that can not be read is a refusal, leases nothing, and is the same lease when it can be again',
  async t => {
    const folder = mkdtempSync(join(tmpdir(), 'tulle-service-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    const path = join(folder, 'ipam.db')
    const store = new SqliteStore(path, { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 })
    t.teardown(() => store.close())
    const service = serviceOn(store)
    const { lease } = await service.allocate(ask('a'))
    using other = new DatabaseSync(path)
    other.exec('ALTER TABLE lease RENAME TO hidden')
    const message = new RegExp(`Cannot read lease store ${path}: no such table`)
    const [again, next] = await Promise.allSettled([service.allocate(ask('a')), service.allocate(ask('b'))])
    t.match(again, { status: 'rejected', reason: { name: 'IpamProblem', type: 'store-failed', message } })
    t.match(next, { status: 'rejected', reason: { type: 'store-failed' } })
    other.exec('ALTER TABLE hidden RENAME TO lease')
    t.same(await service.allocate(ask('a')), { lease, isNew: false })
    t.equal((await service.find({})).length, 1)
  },
)

/** A service of four blocks with one address each, whose clock and whose edges the test moves. */
function serviceWithBlocks(onBlockReturned: () => Promise<void>) {
  const calls: string[] = []
  const clock = { ms: 0 }
  const pool: Pool = { ...POOL, prefixes: [parsePrefix('10.0.0.0/28')], blockPrefixLength: { 4: 30, 6: 64 } }
  const service = new LeaseService([pool], {
    store: new WatchedStore(),
    nowUnixMs: () => 1_700_000_000_000 + clock.ms,
    uptimeMs: () => clock.ms,
    onBlockTaken: async block => void calls.push(`taken ${formatPrefix(block)}`),
    onBlockReturned: async block => {
      calls.push(`returned ${formatPrefix(block)}`)
      await onBlockReturned()
      calls.push(`gone ${formatPrefix(block)}`)
    },
  })
  return { service, calls }
}

t.test('giveBackBlocks() tells the edge, and the block is not announced again before that has ended (R29)', async t => {
  const { promise, resolve } = Promise.withResolvers<void>()
  const { service, calls } = serviceWithBlocks(() => promise)
  for (const id of ['a', 'b']) await service.allocate(ask(id))
  await service.release(ask('b'), 'del')
  for (const id of ['c', 'd']) await service.allocate(ask(id))
  await service.release(ask('d'), 'del')
  await service.release(ask('c'), 'del')
  calls.length = 0
  const returning = service.giveBackBlocks()
  await service.find({})
  const again = service.allocate({ ...ask('e'), addresses: [parseAddress('10.0.0.10')] })
  await service.find({})
  t.same(calls, ['returned 10.0.0.8/30'])
  resolve()
  await Promise.all([returning, again])
  t.same(calls, ['returned 10.0.0.8/30', 'gone 10.0.0.8/30', 'taken 10.0.0.8/30'])
})

t.test('giveBackBlocks() calls the edge again after a failure, unless the node has the block again', async t => {
  const edge = { fails: true }
  const { service, calls } = serviceWithBlocks(async () => {
    if (edge.fails) throw new Error('no route')
  })
  for (const id of ['a', 'b', 'c']) await service.allocate(ask(id))
  for (const id of ['b', 'c']) await service.release(ask(id), 'del')
  calls.length = 0
  await t.rejects(service.giveBackBlocks(), { message: 'no route' })
  await t.rejects(service.giveBackBlocks(), { message: 'no route' })
  t.same(calls, ['returned 10.0.0.8/30', 'returned 10.0.0.8/30'])
  await service.allocate({ ...ask('c'), addresses: [parseAddress('10.0.0.10')] })
  t.same(await service.giveBackBlocks(), [])
  t.same(calls.slice(2), ['taken 10.0.0.8/30'], 'not taken away from under the lease')
})

t.test('reserve() and unreserve() are durable, and refuse in words', async t => {
  const store = new WatchedStore()
  const service = serviceOn(store)
  const address = parseAddress('10.0.0.9')
  await service.reserve({ address, owner: 'ns/db' })
  const restarted = serviceOn(store)
  t.match(await restarted.reservations(), [{ owner: 'ns/db', pool: 'p' }])
  await t.rejects(restarted.reserve({ address, owner: 'x' }), {
    type: 'address-unavailable',
    message: 'address 10.0.0.9: reserved for "ns/db"',
  })
  await t.rejects(restarted.reserve({ address: parseAddress('10.0.0.1'), owner: 'x' }), {
    type: 'bad-address',
    message: 'address 10.0.0.1: gateway in block 10.0.0.0/24, never leased',
  })
  await t.rejects(restarted.allocate({ ...ask('a'), addresses: [parseAddress('10.9.0.1')] }), {
    type: 'bad-address',
    message: 'address 10.9.0.1: want an address of pool "p", 10.0.0.0/24',
  })
  await restarted.allocate({ ...ask('a'), addresses: [parseAddress('10.0.0.2')] })
  await t.rejects(restarted.allocate({ ...ask('b'), addresses: [parseAddress('10.0.0.2')] }), {
    message: /^address 10\.0\.0\.2: leased by net\/a\/eth0$/,
  })
  t.equal(await restarted.unreserve(address), true)
  t.equal(await restarted.unreserve(address), false)
})

t.test('allocate() names maxBlocks when the node has as many blocks', async t => {
  const pool: Pool = { ...POOL, blockPrefixLength: { 4: 30, 6: 64 }, maxBlocks: 1 }
  const edges = {
    nowUnixMs: () => 1000,
    uptimeMs: () => 0,
    onBlockTaken: async () => {},
    onBlockReturned: async () => {},
  }
  const service = new LeaseService([pool], { store: new WatchedStore(), ...edges })
  await service.allocate(ask('a'))
  const want = /: 1 leased, 0 cooling down, 64 in all, the node has as many blocks as maxBlocks allows, 1$/
  await t.rejects(service.allocate(ask('b')), { message: want })
  await t.rejects(service.checkReady(undefined), { message: want }, 'the status says so')
})

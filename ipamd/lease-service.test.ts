import t from 'tap'
import { parsePrefix } from '../lib/net/prefix.ts'
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

  load(): ReturnType<Store['load']> {
    return this.#real.load()
  }

  commit(events: Parameters<Store['commit']>[0]): void {
    this.probe()
    this.commits += 1
    this.#real.commit(events)
  }

  probe(): void {
    if (this.isBroken) throw new StoreError('Cannot write lease store x: disk full')
  }

  close(): void {
    this.#real.close()
  }
}

function serviceOn(store: Store): LeaseService {
  return new LeaseService([POOL], { store, nowUnixMs: () => 1000, uptimeMs: () => 0, onBlockTaken: async () => {} })
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

const HOUR_MS = 3_600_000
for (const { name, stepMs } of [
  { name: 'back', stepMs: -HOUR_MS },
  { name: 'forward', stepMs: HOUR_MS },
]) {
  t.test(`allocate() keeps to the cooldown when the clock is set ${name} (R8)`, async t => {
    const clock = { setByMs: 0, uptimeMs: 0 }
    const pool: Pool = { ...POOL, prefixes: [parsePrefix('10.0.0.0/30')], cooldownMs: 30_000 }
    const service = new LeaseService([pool], {
      store: new WatchedStore(),
      nowUnixMs: () => 1_700_000_000_000 + clock.setByMs + clock.uptimeMs,
      uptimeMs: () => clock.uptimeMs,
      onBlockTaken: async () => {},
    })
    await service.allocate(ask('a'))
    await service.release(ask('a'), 'del')
    clock.uptimeMs = 10_000
    clock.setByMs = stepMs
    await t.rejects(service.allocate(ask('b')), { message: /has no free IPv4 address: .* the next is free in 20 s/ })
    clock.uptimeMs = 29_999
    await t.rejects(service.allocate(ask('b')), { message: /has no free IPv4 address/ })
    clock.uptimeMs = 30_000
    t.equal((await service.allocate(ask('b'))).isNew, true)
  })
}

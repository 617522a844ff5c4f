import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parsePrefix } from '../lib/net/prefix.ts'
import type { Pool } from './allocator/pool.ts'
import { keepHouse } from './housekeeping.ts'
import { LeaseService } from './lease-service.ts'
import { StoreError } from './store/store-error.ts'
import { SqliteStore } from './store/store.ts'
import { contentsOf } from './store/test-snapshot.ts'

const HOUR_MS = 3_600_000
const COOLDOWN_MS = 30_000
/** Of one address. */
const POOL: Pool = {
  name: 'p',
  prefixes: [parsePrefix('10.0.0.0/30')],
  blockPrefixLength: { 4: 30, 6: 64 },
  exclude: [],
  cooldownMs: COOLDOWN_MS,
}
const HANDED_OVER: Pool = { ...POOL, prefixes: [], blockSource: { type: 'kubernetes' } }

function serviceOn(
  store: SqliteStore,
  clock: { readonly setByMs: number; readonly uptimeMs: number },
  pool: Pool,
): LeaseService {
  return new LeaseService([pool], {
    store,
    nowUnixMs: () => 1_700_000_000_000 + clock.setByMs + clock.uptimeMs,
    uptimeMs: () => clock.uptimeMs,
    onBlockTaken: async () => {},
    onBlockReturned: async () => {},
  })
}

/** A service on a real store and two clocks, whose only address was just released. */
async function serviceWithOneCooling(pool: Pool) {
  const store = new SqliteStore(':memory:', { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 })
  const clock = { setByMs: 0, uptimeMs: 0 }
  const open = () => serviceOn(store, clock, pool)
  const service = open()
  if (pool === HANDED_OVER) await service.handOverPodCidrs(podCidrs('10.0.0.0/30'))
  await service.allocate(ask('a'))
  await service.release(ask('a'), 'del')
  return { service, store, clock, open }
}

function ask(containerId: string) {
  return { attachment: { network: 'net', containerId, ifName: 'eth0' } }
}

function podCidrs(...texts: readonly string[]) {
  return { pool: undefined, podCidrs: texts.map(parsePrefix) }
}

type Cooling = Awaited<ReturnType<typeof serviceWithOneCooling>>

/** Holds that the address is refused up to the last millisecond of its cooldown, and not longer. */
async function coolsOnTime(t: Test, { clock }: Cooling, service: LeaseService): Promise<void> {
  clock.uptimeMs = COOLDOWN_MS - 1
  await t.rejects(service.allocate(ask('b')), { message: /has no free IPv4 address/ })
  clock.uptimeMs = COOLDOWN_MS
  t.equal((await service.allocate(ask('b'))).isNew, true)
}

for (const { name, stepMs } of [
  { name: 'back', stepMs: -HOUR_MS },
  { name: 'forward', stepMs: HOUR_MS },
]) {
  t.test(`allocate() keeps to the cooldown when the clock is set ${name} (R8)`, async t => {
    const cooling = await serviceWithOneCooling(POOL)
    cooling.clock.uptimeMs = 10_000
    cooling.clock.setByMs = stepMs
    await t.rejects(cooling.service.allocate(ask('b')), { message: /the next is free in 20 s/ })
    await coolsOnTime(t, cooling, cooling.service)
  })

  t.test(`so does the store that is read anew when other pod CIDRs are handed over, clock set ${name}`, async t => {
    const cooling = await serviceWithOneCooling(HANDED_OVER)
    cooling.clock.setByMs = stepMs
    await cooling.service.handOverPodCidrs(podCidrs('10.0.0.0/30', 'fd00::/125'))
    await cooling.service.handOverPodCidrs(podCidrs('10.0.0.0/30'))
    await coolsOnTime(t, cooling, cooling.service)
  })

  t.test(`so does the store that is read anew after a failed commit, clock set ${name}`, async t => {
    const cooling = await serviceWithOneCooling(POOL)
    const { service, store, clock } = cooling
    const commit = store.commit.bind(store)
    clock.setByMs = stepMs
    store.commit = () => {
      throw new StoreError('Cannot write lease store x: disk full')
    }
    const one = parsePrefix('10.0.0.2/32').address
    await t.rejects(service.reserve({ address: one, owner: 'ns/a', note: undefined }), { message: /disk full/ })
    store.commit = commit
    await coolsOnTime(t, cooling, service)
  })

  t.test(`so does a restart, clock set ${name} while the daemon was down`, async t => {
    const cooling = await serviceWithOneCooling(POOL)
    Object.assign(cooling.clock, { uptimeMs: 10_000, setByMs: stepMs })
    await coolsOnTime(t, cooling, cooling.open())
  })

  t.test(`so does a second restart, of a daemon that only looked after the clock was set ${name}`, async t => {
    const cooling = await serviceWithOneCooling(POOL)
    Object.assign(cooling.clock, { uptimeMs: 10_000, setByMs: stepMs })
    cooling.open().storeClockStep()
    await coolsOnTime(t, cooling, cooling.open())
  })

  t.test(`a daemon that has nothing to store knows at its next start that the clock was set ${name}`, async t => {
    const cooling = await serviceWithOneCooling(POOL)
    const { store } = cooling
    // As a store that an earlier boot left.
    const load = store.load.bind(store)
    store.load = () => ({ ...load(), bootedAtUnixMs: undefined })
    cooling.open().storeClockStep()
    store.load = load
    cooling.clock.setByMs = stepMs
    await coolsOnTime(t, cooling, cooling.open())
  })

  t.test(`so does a restart after a turn of housekeeping, clock set ${name}`, async t => {
    const cooling = await serviceWithOneCooling(POOL)
    cooling.clock.setByMs = stepMs
    const failures: unknown[] = []
    const log = { info: () => {}, warn: () => {}, error: (...said: unknown[]) => void failures.push(said) }
    await keepHouse(cooling.service, { history: { keepMs: HOUR_MS, maxRows: 1000 }, log })
    await coolsOnTime(t, cooling, cooling.open())
    t.same(failures, [])
  })
}

t.test(
  'the clock of an earlier boot says nothing about this one: nobody knows how long the machine was down',
  async t => {
    const folder = mkdtempSync(join(tmpdir(), 'tulle-clock-'))
    t.teardown(() => rmSync(folder, { recursive: true }))
    for (const [bootId, want] of [
      ['b1', undefined],
      ['b1', 1_700_000_000_000],
      ['b2', undefined],
      ['b2', 1_700_000_000_000],
    ] as const) {
      const store = new SqliteStore(join(folder, 'ipam.db'), { bootId, initStartTicks: 1, hostNetnsInode: 2 })
      t.equal(store.load().bootedAtUnixMs, want)
      serviceOn(store, { setByMs: 0, uptimeMs: 0 }, POOL).storeClockStep()
      store.close()
    }
  },
)

t.test(
  'trimHistory() forgets a day in an hour, and not all at once, when the clock is set ten years forward',
  async t => {
    const { service, store, clock } = await serviceWithOneCooling(POOL)
    const bounds = { keepMs: 3 * HOUR_MS, maxRows: 1000 }
    clock.uptimeMs = 2 * HOUR_MS
    await service.allocate(ask('b'))
    const oldestAfter = (passedMs: number): number | undefined => {
      clock.uptimeMs += passedMs
      while (service.trimHistory(bounds)) continue
      const oldestUnixMs = store.oldestEventUnixMs()
      return oldestUnixMs === undefined ? undefined : oldestUnixMs - 1_700_000_000_000
    }
    t.equal(oldestAfter(2 * HOUR_MS), 0)
    clock.setByMs = 87_600 * HOUR_MS
    t.equal(oldestAfter(0), 0, 'nothing at once')
    t.equal(oldestAfter(1000), 2 * HOUR_MS, 'the first rows')
    t.equal(oldestAfter(HOUR_MS / 24), 2 * HOUR_MS)
    t.equal(oldestAfter(HOUR_MS / 24), undefined)
  },
)

t.test('steps of the clock that cancel out change nothing that is stored', async t => {
  const cooling = await serviceWithOneCooling(POOL)
  const { service, store, clock } = cooling
  const before = contentsOf(store).freed
  for (const setByMs of [HOUR_MS, 0]) {
    clock.setByMs = setByMs
    await service.find({})
  }
  service.storeClockStep()
  t.same(contentsOf(store).freed, before)
  await coolsOnTime(t, cooling, service)
})

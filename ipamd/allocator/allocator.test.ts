import t from 'tap'
import { EMPTY_SNAPSHOT, snapshotOf } from './fake-node.ts'
import type { Lease } from '../../lib/ipam/lease.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { formatPrefix, hostPrefix, parsePrefix } from '../../lib/net/prefix.ts'
import { allocate, refusalOf } from './allocate.ts'
import { nextBlock } from './carve.ts'
import { capacityOf, gatewayOf, type Pool } from './pool.ts'
import { collect, release } from './release.ts'
import { emptyState, evolve, restoreState, type State } from './state.ts'

const T0 = 1_700_000_000_000

interface PoolOptions {
  readonly blocks?: readonly [v4: number, v6: number]
  readonly exclude?: readonly string[]
  readonly cooldownMs?: number
}

function poolOf(
  prefixes: readonly string[],
  { blocks = [24, 64], exclude = [], cooldownMs = 30_000 }: PoolOptions = {},
): Pool {
  return {
    name: 'p',
    prefixes: prefixes.map(parsePrefix),
    blockPrefixLength: { 4: blocks[0], 6: blocks[1] },
    exclude: exclude.map(text => (text.includes('/') ? parsePrefix(text) : hostPrefix(parseAddress(text)))),
    cooldownMs,
  }
}

function key(containerId: string) {
  return { network: 'net', containerId, ifName: 'eth0' }
}

/** Leases for `id` and applies it; undefined when the pool is exhausted. */
function lease(state: State, id: string, nowUnixMs = T0): Lease | undefined {
  const decision = allocate(state, { attachment: key(id) }, nowUnixMs)
  if (decision.kind === 'leased') for (const event of decision.events) evolve(state, event)
  return 'lease' in decision ? decision.lease : undefined
}

function free(state: State, id: string, nowUnixMs = T0): void {
  const decision = release(state, { attachment: key(id) }, { nowUnixMs, reason: 'del' })
  if (decision.kind === 'released') for (const event of decision.events) evolve(state, event)
}

function addressText(lease: Lease | undefined): string | undefined {
  return lease?.addresses.map(({ address }) => formatAddress(address)).join(' ')
}

/** Every address that the pool leases until it is exhausted. */
function drain(pool: Pool): readonly string[] {
  const state = emptyState([pool])
  const all: string[] = []
  for (let index = 0; index < 1000; index += 1) {
    const text = addressText(lease(state, `c${index}`))
    if (text === undefined) return all
    all.push(text)
  }
  throw new Error('the pool is too large for this test')
}

const usable = [
  {
    name: 'no network, gateway or broadcast address of an IPv4 block',
    pool: poolOf(['10.0.0.0/29']),
    want: ['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6'],
  },
  { name: 'the one host of a /30 that is not the gateway', pool: poolOf(['10.0.0.0/30']), want: ['10.0.0.2'] },
  { name: 'both addresses of a /31', pool: poolOf(['10.0.0.0/31']), want: ['10.0.0.0', '10.0.0.1'] },
  { name: 'the address of a /32', pool: poolOf(['10.0.0.7/32']), want: ['10.0.0.7'] },
  {
    name: 'no first address and no gateway of an IPv6 block, but its last',
    pool: poolOf(['fd00::/126']),
    want: ['fd00::2', 'fd00::3'],
  },
  { name: 'both addresses of a /127', pool: poolOf(['fd00::/127']), want: ['fd00::', 'fd00::1'] },
  { name: 'the address of a /128', pool: poolOf(['fd00::7/128']), want: ['fd00::7'] },
  {
    name: 'nothing that is excluded',
    pool: poolOf(['10.0.0.0/28'], { exclude: ['10.0.0.2', '10.0.0.4/30', '10.0.0.15'] }),
    want: ['10.0.0.3', '10.0.0.8', '10.0.0.9', '10.0.0.10', '10.0.0.11', '10.0.0.12', '10.0.0.13', '10.0.0.14'],
  },
  {
    name: 'every block of every prefix in order',
    pool: poolOf(['10.0.0.0/29', '10.9.0.0/31'], { blocks: [30, 64] }),
    want: ['10.0.0.2', '10.0.0.6', '10.9.0.0', '10.9.0.1'],
  },
  {
    name: 'no block that is excluded as a whole',
    pool: poolOf(['10.0.0.0/28'], { blocks: [30, 64], exclude: ['10.0.0.0/29'] }),
    want: ['10.0.0.10', '10.0.0.14'],
  },
  {
    name: 'no block whose last usable address is excluded',
    pool: poolOf(['10.0.0.0/29'], { blocks: [30, 64], exclude: ['10.0.0.2'] }),
    want: ['10.0.0.6'],
  },
  {
    name: 'both families or none',
    pool: poolOf(['10.0.0.0/29', 'fd00::/126']),
    want: ['10.0.0.2 fd00::2', '10.0.0.3 fd00::3'],
  },
] as const
for (const { name, pool, want } of usable) {
  t.test(`allocate() leases ${name}`, async t => {
    t.same(drain(pool), want)
    const smallest = Math.min(...new Set(pool.prefixes.map(each => Number(capacityOf(pool, each.address.family)))))
    t.equal(smallest, want.length, 'capacityOf() agrees')
  })
}

t.test('gatewayOf() is the first host, and missing where every address is a host', async t => {
  const gateways = ['10.0.0.0/24', '10.0.0.0/31', '10.0.0.1/32', 'fd00::/64', 'fd00::/127'].map(text =>
    gatewayOf(parsePrefix(text)),
  )
  t.same(
    gateways.map(each => each && formatAddress(each)),
    ['10.0.0.1', undefined, undefined, 'fd00::1', undefined],
  )
})

t.test('allocate() takes never leased addresses first, then the least recently freed (R8)', async t => {
  const state = emptyState([poolOf(['10.0.0.0/29'])])
  for (const id of ['a', 'b', 'c']) lease(state, id)
  free(state, 'b', T0 + 1)
  free(state, 'a', T0 + 2)
  const later = T0 + 60_000
  t.same(
    ['d', 'e', 'f', 'g'].map(id => addressText(lease(state, id, later))),
    ['10.0.0.5', '10.0.0.6', '10.0.0.3', '10.0.0.2'],
  )
})

t.test('allocate() counts what cools down when nothing else is left (R8, R32)', async t => {
  const state = emptyState([poolOf(['10.0.0.0/30'])])
  lease(state, 'a')
  free(state, 'a', T0)
  const refusal = {
    kind: 'pool-exhausted',
    pool: 'p',
    family: 4,
    leased: 0,
    cooling: 1,
    reserved: 0,
    capacity: 1n,
    nextFreeAtUnixMs: T0 + 30_000,
    blockLimit: undefined,
  }
  t.same(allocate(state, { attachment: key('b') }, T0 + 29_999), refusal)
  t.same(refusalOf(state, {}, T0 + 29_999), refusal)
  t.equal(refusalOf(state, { pool: 'p' }, T0 + 30_000), undefined)
  t.equal(addressText(lease(state, 'b', T0 + 30_000)), '10.0.0.2')
})

t.test('allocate() names the pools when it does not know the one that is asked for', async t => {
  t.same(allocate(emptyState([poolOf(['10.0.0.0/30'])]), { attachment: key('a'), pool: 'x' }, T0), {
    kind: 'unknown-pool',
    pool: 'x',
    known: ['p'],
  })
})

t.test('collect() names the leases of the network that are not valid (G1, G7)', async t => {
  const state = emptyState([poolOf(['10.0.0.0/24'])])
  for (const id of ['a', 'b']) lease(state, id)
  const ended = collect(state, { network: 'net', valid: [{ containerId: 'a', ifName: 'eth0' }] }, T0)
  t.same(
    ended.map(event => event.lease.attachment),
    [key('b')],
  )
  t.same(collect(state, { network: 'other', valid: [] }, T0), [])
})

t.test('nextBlock() steps over blocks of other lengths', async t => {
  const pool = poolOf(['10.0.0.0/22'])
  const taken = ['10.0.1.128/25', '10.0.0.0/24', '10.0.2.0/23'].map(parsePrefix)
  t.equal(nextBlock(pool, { family: 4, taken }), undefined)
  t.equal(formatPrefix(nextBlock(pool, { family: 4, taken: taken.slice(0, 2) }) ?? parsePrefix('::/0')), '10.0.2.0/24')
})

t.test('restoreState() leases nothing from a block that the pool has lost', async t => {
  const block = { pool: 'p', prefix: parsePrefix('10.1.0.0/24') }
  const held: Lease = {
    attachment: key('old'),
    pool: 'p',
    addresses: [{ address: parseAddress('10.1.0.2'), block: block.prefix }],
    leasedAtUnixMs: T0,
  }
  const freed = [{ address: parseAddress('10.1.0.3'), block, freedAtUnixMs: 0 }]
  const state = restoreState(
    [poolOf(['10.2.0.0/30'])],
    { ...EMPTY_SNAPSHOT, blocks: [block], ...snapshotOf(held), freed },
    T0,
  )
  t.same(lease(state, 'old'), held, 'the lease lives on')
  t.equal(addressText(lease(state, 'new')), '10.2.0.2')
  t.equal(lease(state, 'third'), undefined)
  free(state, 'old')
  t.equal(lease(state, 'third'), undefined, 'its address does not come back')
})

t.test(
  'restoreState() lets an address cool down for no longer than the cooldown, when the clock was set back',
  async t => {
    const block = { pool: 'p', prefix: parsePrefix('10.0.0.0/30') }
    const freed = [{ address: parseAddress('10.0.0.2'), block, freedAtUnixMs: T0 + 1_000_000 }]
    const state = restoreState([poolOf(['10.0.0.0/30'])], { ...EMPTY_SNAPSHOT, blocks: [block], freed }, T0)
    t.equal(lease(state, 'a', T0 + 29_999), undefined)
    t.equal(addressText(lease(state, 'a', T0 + 30_000)), '10.0.0.2')
  },
)

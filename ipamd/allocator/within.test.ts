import fc from 'fast-check'
import t from 'tap'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import type { AddressRange } from '../../lib/net/address-range.ts'
import { parsePrefix } from '../../lib/net/prefix.ts'
import { findLeases } from './release.ts'
import { FakeNode, smallPool, T0 } from './fake-node.ts'
import type { Pool } from './pool.ts'
import { UsedRuns } from './used-runs.ts'

/** "10.0.0.4-10.0.0.9 fd00::4-fd00::9" */
function ranges(text: string): readonly AddressRange[] {
  return text.split(' ').map(each => {
    const [first = '', last = first] = each.split('-')
    return { first: parseAddress(first), last: parseAddress(last) }
  })
}

t.test('allocate() leases in the ranges of a family, and anything of the other', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28', 'fd00::/124']))
  const within = ranges('10.0.0.9-10.0.0.12')
  t.equal(node.lease('a', { within }), '10.0.0.10 fd00::2')
  t.same(node.blocks(), ['10.0.0.8/30', 'fd00::/126'], 'of the blocks that have addresses in them')
  t.equal(node.lease('b', { within }), 'pool-exhausted', 'the other block has only its network address there')
  t.equal(node.lease('b'), '10.0.0.2 fd00::3', 'the rest goes on')
})

t.test('allocate() takes the ranges of a family together, whatever their order, and two that touch', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28']))
  const within = ranges('10.0.0.13-10.0.0.15 10.0.0.4-10.0.0.5 10.0.0.6-10.0.0.6')
  t.same(
    ['a', 'b', 'c'].map(id => node.lease(id, { within })),
    ['10.0.0.6', '10.0.0.14', 'pool-exhausted'],
  )
})

t.test(
  'allocate() takes the least recently freed address of the ranges, not of the pool, after its cooldown',
  async t => {
    const node = new FakeNode(smallPool(['10.0.0.0/28']))
    for (const id of ['a', 'b', 'c', 'd']) node.lease(id)
    for (const id of ['a', 'd', 'c']) {
      node.release(id)
      node.now += 1
    }
    const within = ranges('10.0.0.8-10.0.0.15')
    t.equal(node.lease('e', { within }), 'pool-exhausted', 'they cool down')
    node.now = T0 + 30_001
    t.equal(node.lease('e', { within }), '10.0.0.14')
    t.equal(node.lease('f', { within }), 'pool-exhausted', 'the other one cools down for a moment yet')
    node.now += 1
    t.equal(node.lease('f', { within }), '10.0.0.10')
  },
)

t.test('allocate() gives an owner what is reserved and kept for it only in the ranges', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28']))
  node.reserve('10.0.0.2', 'ns/a')
  node.lease('b', { owner: 'ns/a', stickySeconds: 100, at: '10.0.0.6' })
  node.release('b')
  const outside = ranges('10.0.0.8-10.0.0.15')
  t.equal(node.lease('c', { owner: 'ns/a', within: outside }), '10.0.0.10')
  t.equal(
    node.lease('d', { owner: 'ns/a', within: ranges('10.0.0.4-10.0.0.15') }),
    '10.0.0.6',
    'kept, before any other',
  )
  t.equal(node.lease('e', { owner: 'ns/a', within: ranges('10.0.0.0-10.0.0.7') }), '10.0.0.2')
})

t.test(
  'allocate() leases an address again when its reservation has ended, though the run over it is remembered',
  async t => {
    const node = new FakeNode(smallPool(['10.0.0.0/28']))
    node.lease('a')
    node.lease('b', { at: '10.0.0.10' })
    node.reserve('10.0.0.6', 'ns/x')
    const within = ranges('10.0.0.4-10.0.0.11')
    t.equal(node.lease('c', { within }), 'pool-exhausted')
    node.unreserve('10.0.0.6')
    t.equal(node.lease('c', { within }), '10.0.0.6')
  },
)

t.test(
  'allocate() refuses ranges that the pool has not, an address outside the ranges, and others than it gave',
  async t => {
    const node = new FakeNode(smallPool(['10.0.0.0/28', '10.0.0.16/28', 'fd00::/124']))
    t.equal(node.lease('a', { within: ranges('10.0.0.1-10.0.0.32') }), 'range-refused')
    t.equal(node.lease('a', { within: ranges('10.1.0.1') }), 'range-refused')
    t.equal(node.lease('a', { within: ranges('10.0.0.14-10.0.0.20'), at: '10.0.0.2' }), 'not-within')
    t.same(node.blocks(), [], 'nothing is taken')
    t.match(node.lease('a', { within: ranges('10.0.0.14-10.0.0.20') }), /^10\.0\.0\.14 /, 'over a border of prefixes')
    t.match(node.lease('a', { within: ranges('10.0.0.14') }), /^10\.0\.0\.14 /, 'the same answer')
    t.equal(node.lease('a', { within: ranges('10.0.0.15-10.0.0.20') }), 'other-lease')
  },
)

t.test('allocate() finds an address of a large range without a step for each that is used', async t => {
  const pool: Pool = { ...smallPool(['10.0.0.0/16']), blockPrefixLength: { 4: 16, 6: 64 } }
  const node = new FakeNode(pool)
  const within = ranges('10.0.16.0-10.0.47.255')
  for (let count = 0; count < 4000; count += 1) node.lease(String(count), { within })
  const family = node.state.pools.get('p')?.families[0]
  if (family === undefined) throw new Error('the pool has IPv4')
  let looks = 0
  const has = family.leased.has.bind(family.leased)
  family.leased.has = value => ((looks += 1), has(value))
  t.equal(node.lease('next', { within }), '10.0.31.160')
  t.ok(looks < 10, `${looks} looks`)
})

t.test('UsedRuns forgets when it is full, and answers as before', async t => {
  const runs = new UsedRuns()
  const stepOver = (value: bigint): bigint => (value < 3000n ? value + 1n : value)
  const firsts = Array.from({ length: 3000 }, (_, index) => BigInt(index))
  t.ok(firsts.every(first => runs.firstUnused({ first, last: 4000n }, stepOver) === 3000n))
  t.equal(runs.firstUnused({ first: 0n, last: 2000n }, stepOver), undefined)
})

// Eight addresses in both: one pool is small, and of the other nearly everything is excluded, so that its ranges are large.
const small = smallPool(['10.0.0.0/27'])
const large: Pool = {
  ...small,
  prefixes: [parsePrefix('10.0.0.0/20')],
  exclude: [
    '10.0.0.32/27',
    '10.0.0.64/26',
    '10.0.0.128/25',
    '10.0.1.0/24',
    '10.0.2.0/23',
    '10.0.4.0/22',
    '10.0.8.0/21',
  ].map(parsePrefix),
}
const LEASED = [2, 6, 10, 14, 18, 22, 26, 30].map(last => `10.0.0.${last}`)
const COOLDOWN_MS = 30_000
const KEEP_MS = 100_000

const steps = fc.array(
  fc.record({
    do: fc.constantFrom('lease', 'lease', 'lease', 'release', 'release', 'reserve', 'unreserve', 'give back'),
    id: fc.integer({ min: 0, max: 9 }).map(String),
    owner: fc.constantFrom(undefined, 'ns/a', 'ns/b'),
    at: fc.constantFrom(...LEASED),
    from: fc.nat(31),
    to: fc.nat(31),
    isToTheEnd: fc.boolean(),
    afterMs: fc.constantFrom(0, 1, 1000, COOLDOWN_MS, KEEP_MS),
  }),
  { maxLength: 80, size: 'max' },
)

/** Of an address that was leased: who has it; when and by whom it was given back. */
interface Known {
  readonly by: string | undefined
  readonly owner: string | undefined
  readonly at: number
}

t.test(
  'allocate() refuses exactly when no address of the ranges can be had, and never leaves them (invariant 1, R8)',
  async t => {
    fc.assert(
      fc.property(fc.constantFrom(small, large), steps, (pool, story) => {
        const node = new FakeNode(pool)
        const known = new Map<string, Known>()
        const reserved = new Map<string, string>()
        for (const { do: verb, id, owner, at, from, to, isToTheEnd, afterMs } of story) {
          node.now += afterMs
          const held = [...known].find(([, { by }]) => by === id)?.[0]
          if (verb === 'release' && held !== undefined) {
            node.release(id)
            known.set(held, { by: undefined, owner: known.get(held)?.owner, at: node.now })
          } else if (verb === 'reserve') {
            if (node.reserve(at, owner ?? 'ns/c') === 'reserved' && !reserved.has(at)) reserved.set(at, owner ?? 'ns/c')
          } else if (verb === 'unreserve') {
            node.unreserve(at)
            reserved.delete(at)
          } else if (verb === 'give back') {
            node.giveBack()
          } else if (verb === 'lease' && held === undefined) {
            const [first, last] = [Math.min(from, to), Math.max(from, to)]
            const end = isToTheEnd && pool === large ? '10.0.15.255' : `10.0.0.${last}`
            const free = LEASED.filter(address => {
              const number = Number(address.split('.')[3])
              const { by, owner: lastOwner, at: freedAt = -Infinity } = known.get(address) ?? {}
              const isIn = number >= first && (end === '10.0.15.255' || number <= last)
              const cools = freedAt + COOLDOWN_MS > node.now && (owner === undefined || lastOwner !== owner)
              return isIn && by === undefined && (reserved.get(address) ?? owner) === owner && !cools
            })
            const keep = owner === undefined ? {} : { owner, stickySeconds: KEEP_MS / 1000 }
            const answer = node.lease(id, { ...keep, within: ranges(`10.0.0.${first}-${end}`) })
            if (answer === 'pool-exhausted' ? free.length > 0 : !free.includes(answer)) {
              throw new Error(`${answer} for ${first} to ${end}, free are ${free.join(', ') || 'none'}`)
            }
            if (answer !== 'pool-exhausted') known.set(answer, { by: id, owner, at: 0 })
          }
        }
      }),
      { numRuns: 500 },
    )
    t.pass('500 histories')
  },
)

t.test('allocate() with the whole pool as the range answers as it does without', async t => {
  fc.assert(
    fc.property(fc.constantFrom(small, large), steps, (pool, story) => {
      const [one, two] = [new FakeNode(pool), new FakeNode(pool)]
      const [whole] = pool.prefixes
      const within = ranges(`10.0.0.0-${whole?.prefixLength === 20 ? '10.0.15.255' : '10.0.0.31'}`)
      for (const { do: verb, id, owner, at, afterMs } of story) {
        const keep = owner === undefined ? {} : { owner, stickySeconds: KEEP_MS / 1000 }
        for (const node of [one, two]) {
          // Of those that were freed in one moment, which is first is nobody's promise.
          node.now += afterMs + 1
          if (verb === 'release') node.release(id)
          else if (verb === 'reserve') node.reserve(at, owner ?? 'ns/c')
          else if (verb === 'unreserve') node.unreserve(at)
          else if (verb === 'give back') node.giveBack()
        }
        if (verb !== 'lease') continue
        const answers = [one.lease(id, keep), two.lease(id, { ...keep, within })]
        if (answers[0] !== answers[1]) throw new Error(answers.join(' and '))
      }
      const leases = [one, two].map(node =>
        findLeases(node.state, {}).flatMap(lease => lease.addresses.map(each => formatAddress(each.address))),
      )
      return String(leases[0]) === String(leases[1])
    }),
    { numRuns: 500 },
  )
  t.pass('500 histories')
})

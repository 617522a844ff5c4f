import t from 'tap'
import { parseAddress } from '../../lib/net/address.ts'
import { parsePrefix } from '../../lib/net/prefix.ts'
import { EMPTY_SNAPSHOT, FakeNode, smallPool, T0, snapshotOf } from './fake-node.ts'
import { giveBack } from './give-back.ts'
import type { Snapshot } from './snapshot.ts'
import { restoreState } from './state.ts'

t.test('giveBack() gives an empty block back when its cooldown is over, and not earlier', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28']))
  t.same(
    ['a', 'b', 'c'].map(id => node.lease(id)),
    ['10.0.0.2', '10.0.0.6', '10.0.0.10'],
  )
  for (const id of ['b', 'c']) node.release(id)
  node.now = T0 + 29_999
  t.same(node.giveBack(), [])
  node.now = T0 + 30_000
  t.same(node.giveBack(), ['10.0.0.8/30'], 'one with a free address stays: the others are full')
  t.same(node.blocks(), ['10.0.0.0/30', '10.0.0.4/30'])
  t.same(node.giveBack(), [], 'and stays')
  t.equal(node.lease('d'), '10.0.0.6')
  t.equal(node.lease('e'), '10.0.0.10', 'the block can be taken again')
})

t.test('giveBack() keeps one block of each family of a pool that has no lease', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28', 'fd00::/124']))
  for (const id of ['a', 'b', 'c']) node.lease(id)
  for (const id of ['a', 'b', 'c']) node.release(id)
  node.now += 30_000
  t.same(node.giveBack(), ['10.0.0.4/30', '10.0.0.8/30', 'fd00::4/126'])
  t.same(node.blocks(), ['10.0.0.0/30', 'fd00::/126'])
})

t.test('giveBack() gives a block back that another one with room makes superfluous', async t => {
  const node = new FakeNode(smallPool(['fd00::/124']))
  for (const id of ['a', 'b', 'c']) node.lease(id)
  node.release('a')
  node.release('b')
  node.now += 30_000
  t.same(node.giveBack(), ['fd00::/126'], 'the block of c has a free address')
})

t.test('giveBack() waits as long as an address of the block is kept for its owner', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28']))
  node.lease('a')
  node.lease('b', { owner: 'ns/b', stickySeconds: 100 })
  node.lease('c')
  for (const id of ['b', 'c']) node.release(id)
  node.now = T0 + 99_999
  t.same(node.giveBack(), ['10.0.0.8/30'])
  t.equal(node.lease('x', { owner: 'ns/b' }), '10.0.0.6')
})

t.test('giveBack() gives back no more than eight at once', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/26']))
  for (let index = 0; index < 12; index += 1) node.lease(`c${index}`)
  for (let index = 0; index < 12; index += 1) node.release(`c${index}`)
  node.now += 30_000
  t.equal(node.giveBack().length, 8)
  t.equal(node.giveBack().length, 3)
})

t.test('giveBack() follows a clock that is set', async t => {
  for (const stepMs of [-3_600_000, 3_600_000]) {
    const node = new FakeNode(smallPool(['10.0.0.0/28']))
    for (const id of ['a', 'b']) node.lease(id)
    for (const id of ['a', 'b']) node.release(id)
    node.apply([{ type: 'clock-set', stepMs }])
    node.now = T0 + stepMs + 29_999
    t.same(node.giveBack(), [])
    node.now += 1
    t.same(node.giveBack(), ['10.0.0.4/30'])
  }
})

const drained = [
  { name: 'renamed', pool: { name: 'q', prefixes: ['10.0.0.0/28'] } },
  { name: 'shrunk', pool: { name: 'p', prefixes: ['10.0.0.8/29'] } },
]
for (const { name, pool } of drained) {
  t.test(`giveBack() empties the blocks of a pool that was ${name} (R30)`, async t => {
    const block = { pool: 'p', prefix: parsePrefix('10.0.0.0/30') }
    const lease = {
      attachment: { network: 'net', containerId: 'a', ifName: 'eth0' },
      pool: 'p',
      addresses: [{ address: parseAddress('10.0.0.2'), block: block.prefix }],
      leasedAtUnixMs: T0,
    }
    const snapshot: Snapshot = { ...EMPTY_SNAPSHOT, blocks: [block], ...snapshotOf(lease) }
    const configured = { ...smallPool(pool.prefixes), name: pool.name }
    const node = new FakeNode(configured)
    Object.assign(node, { state: restoreState([configured], snapshot, T0) })
    t.equal(node.lease('a'), '10.0.0.2', 'the lease lives on')
    t.not(node.lease('b'), 'pool-exhausted')
    t.notOk(node.blocks().slice(1).includes('10.0.0.0/30'), 'nothing overlaps it')
    t.same(giveBack(node.state, T0 + 1_000_000), [])
    node.release('a')
    t.same(giveBack(node.state, T0 + 29_999), [])
    node.now = T0 + 30_000
    t.same(node.giveBack(), ['10.0.0.0/30'], 'also the last block of its pool')
  })
}

t.test(
  'giveBack() keeps a block with a reserved address, which its owner gets when the node may have no other (R33)',
  async t => {
    const node = new FakeNode(smallPool(['10.0.0.0/28'], { maxBlocks: 2 }))
    node.lease('a')
    node.reserve('10.0.0.6', 'ns/db-0')
    node.lease('b', { owner: 'ns/db-0' })
    node.release('b')
    node.now += 30_000
    t.same(node.giveBack(), [])
    t.equal(node.lease('c'), 'pool-exhausted')
    t.equal(node.lease('b', { owner: 'ns/db-0' }), '10.0.0.6')
  },
)

t.test('giveBack() gives an empty drained block back at start', async t => {
  const block = { pool: 'gone', prefix: parsePrefix('10.9.0.0/24') }
  const freed = [{ address: parseAddress('10.9.0.2'), block, freedAtUnixMs: T0 - 30_000 }]
  const snapshot: Snapshot = { ...EMPTY_SNAPSHOT, blocks: [block], freed }
  t.equal(giveBack(restoreState([smallPool(['10.0.0.0/30'])], snapshot, T0), T0).length, 1)
})

t.test('allocate() takes no more blocks than maxBlocks, of each family', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28', 'fd00::/124'], { maxBlocks: 2 }))
  t.equal(node.lease('a'), '10.0.0.2 fd00::2')
  t.equal(node.lease('b'), '10.0.0.6 fd00::3')
  t.equal(node.lease('c'), 'pool-exhausted')
  t.equal(node.lease('c', { at: '10.0.0.10' }), 'block-limit')
})

t.test('allocate() uses what its blocks have left when the block that it leased from was given back', async t => {
  const node = new FakeNode(smallPool(['fd00::/124'], { maxBlocks: 3 }))
  node.lease('a', { at: 'fd00::2' })
  for (const last of ['6', '7', 'a']) node.lease(`b${last}`, { at: `fd00::${last}` })
  node.release('a')
  node.now += 30_000
  t.same(node.giveBack(), ['fd00::/126'])
  t.equal(node.lease('d'), 'fd00::b', 'the first block that is left is full, the second is not')
})

import t from 'tap'
import { FakeNode, smallPool, T0 } from './fake-node.ts'

t.test('allocate() leases the address that is asked for, and any of the other family (R33)', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28', 'fd00::/124']))
  t.equal(node.lease('a', { at: '10.0.0.10' }), '10.0.0.10 fd00::2')
  t.same(node.blocks(), ['10.0.0.8/30', 'fd00::/126'], 'the block around it is taken')
  t.equal(node.lease('b', { at: 'fd00::e 10.0.0.6' }), '10.0.0.6 fd00::e')
  t.equal(node.lease('a', { at: '10.0.0.10' }), '10.0.0.10 fd00::2', 'the same answer')
  t.equal(node.lease('a', { at: '10.0.0.2' }), 'other-lease')
  t.equal(node.lease('c'), '10.0.0.2 fd00::3', 'the rest goes on')
})

const refusals = [
  { at: '10.1.0.2', why: 'outside' },
  { at: 'fd00::2', why: 'outside' },
  { at: '10.0.0.4', why: 'never-leased' },
  { at: '10.0.0.5', why: 'never-leased' },
  { at: '10.0.0.7', why: 'never-leased' },
  { at: '10.0.0.14', why: 'never-leased' },
  { at: '10.0.0.2', why: 'leased' },
  { at: '10.0.0.6', why: 'cooling' },
  { at: '10.0.0.10', why: 'reserved' },
]
for (const { at, why } of refusals) {
  t.test(`allocate() does not lease ${at}, which is ${why}`, async t => {
    const node = new FakeNode(smallPool(['10.0.0.0/28'], { without: '10.0.0.14' }))
    node.lease('a')
    node.lease('b')
    node.release('b')
    node.reserve('10.0.0.10', 'ns/x')
    const before = node.blocks()
    t.equal(node.lease('c', { at, owner: 'ns/c' }), why)
    t.same(node.blocks(), before, 'nothing is taken')
  })
}

t.test('allocate() does not take a block that overlaps one of another length', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28']))
  node.takeBlock('old', '10.0.0.8/31')
  t.equal(node.lease('a', { at: '10.0.0.10' }), 'block-in-the-way')
})

t.test('allocate() leases a cooling address that is asked for only when the pool says so', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/29'], { whenOnlyCooling: 'takeOldest' }))
  node.lease('a')
  node.release('a')
  t.equal(node.lease('b', { at: '10.0.0.2' }), '10.0.0.2')
})

t.test('allocate() keeps reserved addresses for their owner, also over lease and release', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/29']))
  t.equal(node.reserve('10.0.0.2', 'ns/db', 'the database'), 'reserved')
  t.equal(node.lease('a'), '10.0.0.6')
  t.equal(node.lease('b'), 'pool-exhausted')
  t.equal(node.lease('b', { owner: 'ns/other' }), 'pool-exhausted')
  t.equal(node.lease('db', { owner: 'ns/db' }), '10.0.0.2')
  t.equal(node.lease('db2', { owner: 'ns/db' }), 'pool-exhausted', 'a second lease of the owner has no claim to it')
  node.release('db')
  node.now += 1_000_000
  t.equal(node.lease('b'), 'pool-exhausted')
  t.equal(node.lease('db3', { owner: 'ns/db' }), '10.0.0.2')
  node.release('db3')
  node.unreserve('10.0.0.2')
  node.now += 30_000
  t.equal(node.lease('b'), '10.0.0.2', 'free for anybody again')
})

t.test('allocate() gives an address that was never leased to anybody when its reservation has ended', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/29']))
  node.reserve('10.0.0.2', 'ns/db')
  t.equal(node.lease('a'), '10.0.0.6')
  node.unreserve('10.0.0.2')
  t.equal(node.lease('b'), '10.0.0.2')
  t.equal(node.lease('c'), 'pool-exhausted')
})

t.test('allocate() steps over blocks that are reserved as a whole', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/29']))
  node.reserve('10.0.0.2', 'ns/a')
  node.reserve('10.0.0.6', 'ns/b')
  t.equal(node.lease('x'), 'pool-exhausted')
  t.same(node.blocks(), [])
  t.equal(node.lease('b', { owner: 'ns/b' }), '10.0.0.6')
})

t.test('allocate() leases an address that was reserved while another one cools it down only after that', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/30']))
  node.lease('a')
  node.reserve('10.0.0.2', 'ns/b')
  node.release('a')
  t.equal(node.lease('b', { owner: 'ns/b' }), 'pool-exhausted')
  node.now += 30_000
  t.equal(node.lease('b', { owner: 'ns/b' }), '10.0.0.2')
})

t.test('reserve() refuses what another owner has, and what no pool leases', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/29']))
  node.reserve('10.0.0.2', 'ns/a')
  t.equal(node.reserve('10.0.0.2', 'ns/b'), 'reserved')
  t.equal(node.state.reservations[4].size, 1)
  t.equal(node.reserve('10.0.0.2', 'ns/a', 'a note'), 'reserved')
  t.equal([...node.state.reservations[4].values()][0]?.note, 'a note')
  t.equal([...node.state.reservations[4].values()][0]?.owner, 'ns/a')
  t.same(node.state.reservationsOf.get('ns/a')?.length, 1)
  t.equal(node.reserve('10.0.0.1', 'ns/a'), 'never-leased')
  t.equal(node.reserve('10.9.0.1', 'ns/a'), 'in-no-pool')
})

t.test('allocate() gives an owner back what it had, at once, for as long as it is kept (R33)', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/28']))
  node.lease('a', { owner: 'ns/db-0', stickySeconds: 100 })
  node.release('a')
  node.now = T0 + 50_000
  t.same(
    ['b', 'c', 'd'].map(id => node.lease(id)),
    ['10.0.0.6', '10.0.0.10', '10.0.0.14'],
    'others get others',
  )
  t.equal(node.lease('e', { owner: 'ns/db-0', stickySeconds: 100 }), '10.0.0.2')
  node.release('e')
  node.now = T0 + 50_000 + 29_999
  t.equal(node.lease('f'), 'pool-exhausted', 'it cools down')
  node.now += 1
  t.equal(node.lease('f', { at: '10.0.0.2' }), 'kept')
  t.equal(node.lease('f'), '10.0.0.2', 'when nothing else is left, anybody gets it')
  t.equal(node.lease('g', { owner: 'ns/db-0' }), 'pool-exhausted')
})

t.test('allocate() takes an address that is not kept any more in its turn', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/29', '10.0.1.0/30']))
  node.lease('a', { owner: 'ns/a', stickySeconds: 60 })
  node.lease('b')
  node.release('a')
  node.now += 10
  node.release('b')
  node.now = T0 + 59_999
  t.equal(node.lease('c'), '10.0.0.6', 'the other one is still kept')
  node.release('c')
  node.now = T0 + 60_000
  t.equal(node.lease('d'), '10.0.0.2')
})

t.test('allocate() takes the least recently freed address though it cools down, when the pool says so', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/29'], { whenOnlyCooling: 'takeOldest' }))
  node.lease('a')
  node.lease('b')
  node.release('b')
  node.now += 1
  node.release('a')
  t.equal(node.lease('c'), '10.0.0.6')
  t.equal(node.lease('d'), '10.0.0.2')
  t.equal(node.lease('e'), 'pool-exhausted')
})

t.test('allocate() finds an address whose reservation has ended before those that were freed after it', async t => {
  const node = new FakeNode(smallPool(['10.0.0.0/29']))
  for (const id of ['a', 'b']) node.lease(id)
  node.release('a')
  node.reserve('10.0.0.2', 'ns/x')
  node.now += 20_000
  node.release('b')
  t.equal(node.lease('c'), 'pool-exhausted', 'what the queue still has of the reserved address goes')
  node.unreserve('10.0.0.2')
  node.now = T0 + 30_000
  t.equal(node.lease('c'), '10.0.0.2')
})

import t from 'tap'
import { heapCollector, MemoryKeeper } from './memory-keeper.ts'

const MIB = 1024 * 1024

/** A process whose memory the test sets; each collection leaves what the test says. */
function processOf(mib: number, left: readonly number[]) {
  const state = { mib, collections: 0, trims: 0 }
  const keeper = new MemoryKeeper({
    residentBytes: () => state.mib * MIB,
    collect: () => void (state.mib = left[state.collections++] ?? state.mib),
    trim: () => void (state.trims += 1),
  })
  return { state, keeper }
}

t.test('MemoryKeeper collects twice after a burst, and then no more', async t => {
  const { state, keeper } = processOf(60, [90, 70])
  keeper.look()
  t.equal(state.collections, 0, 'nothing has grown')
  state.mib = 100
  keeper.look()
  t.same([state.collections, state.trims, state.mib], [1, 1, 90])
  keeper.look()
  t.same([state.collections, state.trims, state.mib], [2, 2, 70])
  for (let look = 0; look < 5; look++) keeper.look()
  t.equal(state.collections, 2)
})

t.test('MemoryKeeper leaves small growth alone, and measures from the least that was held', async t => {
  const { state, keeper } = processOf(60, [])
  state.mib = 64
  keeper.look()
  t.equal(state.collections, 0, 'four more are no burst')
  state.mib = 50
  keeper.look()
  state.mib = 55
  keeper.look()
  t.equal(state.collections, 1, 'five more than the least are')
})

t.test('MemoryKeeper does not collect again and again what is alive', async t => {
  const { state, keeper } = processOf(60, [])
  state.mib = 80
  for (let look = 0; look < 10; look++) keeper.look()
  t.equal(state.collections, 2)
})

t.test('heapCollector() frees what nothing refers to', async t => {
  const collect = heapCollector()
  let held: ArrayBuffer | undefined = new ArrayBuffer(1)
  const seen = new WeakRef(held)
  held = undefined
  // A WeakRef keeps what it refers to until the turn of the event loop is over.
  await new Promise(resolve => setImmediate(resolve))
  collect()
  t.equal(seen.deref(), undefined)
})

import t from 'tap'
import { CHAINS, SERVED } from '../report/contenders.ts'
import { turnsOf, type Sizes } from './turns.ts'

const SIZES: Sizes = {
  pods: 40,
  warmUpPods: 1,
  perTurn: 5,
  crowds: [10, 250],
  standing: [100],
  trafficRounds: 2,
  trafficSeconds: 1,
}
const turns = turnsOf(SIZES, { path: '/iperf3', libraryFolder: '/lib' })

t.test('turnsOf() names every turn by a key of its own: a run that goes on repeats none', async t => {
  t.equal(new Set(turns.map(({ key }) => key)).size, turns.length)
})

t.test('turnsOf() gives every chain the same calls', async t => {
  const callsOf = (contender: string) =>
    turns
      .filter(turn => turn.contender === contender)
      .flatMap(({ requests }) => requests.filter(request => request.do === 'calls'))
      .map(request => JSON.stringify(request))
      .toSorted()
  for (const contender of CHAINS.slice(1)) t.strictSame(callsOf(contender), callsOf(CHAINS[0]), contender)
  t.equal(callsOf(CHAINS[0]).length, 2 * 8 + 2 * 3 + 2 + 4)
})

t.test('turnsOf() begins each round with another contender', async t => {
  const firsts = [0, 1, 2].map(round => turns.find(({ key }) => key.startsWith(`single/plain/${round}/`))?.contender)
  t.equal(new Set(firsts).size, 3)
})

t.test('turnsOf() measures nothing on a full node but what says so: pods that stand come last', async t => {
  const first = turns.findIndex(({ requests }) => requests.some(request => request.do === 'stand'))
  t.ok(first > 0)
  t.ok(turns.slice(first).every(({ key }) => key.startsWith('standing/')))
})

t.test('turnsOf() looks at the memory of ipamd before the first pod, and with each number of them', async t => {
  t.equal(turns[0]?.key, 'memory/0')
  t.ok(turns.find(({ key }) => key === `standing/100/0/${SERVED}`)?.requests.some(request => request.do === 'memory'))
})

import fc from 'fast-check'
import t from 'tap'
import { formatPrefix, overlaps, parsePrefix } from '../../lib/net/prefix.ts'
import type { GrantRequest } from '../../lib/ipam/grants.ts'
import { smallPool, T0 } from './fake-node.ts'
import { endGrants, grant, type Granting } from './grant.ts'
import { emptyState, evolve, type State } from './state.ts'

const POOL = smallPool(['10.0.0.0/28'])

function ask(
  state: State,
  wish: Partial<Omit<GrantRequest, 'holds'>> & { readonly holds?: readonly string[] },
): Granting {
  const { holds = [], ...rest } = wish
  const request = {
    node: 'n1',
    instance: 'i1',
    sequence: 1,
    wants: [4] as const,
    ...rest,
    holds: holds.map(parsePrefix),
  }
  const decision = grant(state, request, T0)
  if (decision.kind === 'granted') for (const event of decision.events) evolve(state, event)
  return decision
}

/** The blocks that were granted, or why none were. */
function outcome(decision: Granting): string {
  return decision.kind === 'granted' ? decision.blocks.map(formatPrefix).join(' ') : decision.kind
}

t.test('grant() gives each node blocks of its own, until there are none', async t => {
  const state = emptyState([POOL])
  const nodes = ['n1', 'n2', 'n3', 'n4', 'n5']
  t.same(
    nodes.map(node => outcome(ask(state, { node }))),
    ['10.0.0.0/30', '10.0.0.4/30', '10.0.0.8/30', '10.0.0.12/30', 'no-block'],
  )
})

t.test('grant() grants a block again whose answer was lost, to the same node', async t => {
  const state = emptyState([POOL])
  t.equal(outcome(ask(state, { node: 'n0' })), '10.0.0.0/30')
  t.equal(outcome(ask(state, {})), '10.0.0.4/30')
  endGrants(state, 'n0', T0).forEach(event => evolve(state, event))
  t.equal(outcome(ask(state, { sequence: 2 })), '10.0.0.4/30', 'though a lower one is free by now')
  t.equal(outcome(ask(state, { sequence: 3, holds: ['10.0.0.4/30'] })), '10.0.0.0/30')
})

t.test('grant() frees what a node does not hold any more', async t => {
  const state = emptyState([POOL])
  ask(state, {})
  ask(state, { sequence: 2, holds: ['10.0.0.0/30'] })
  t.equal(outcome(ask(state, { sequence: 3, holds: ['10.0.0.4/30'], wants: [] })), '')
  t.equal(outcome(ask(state, { node: 'n2' })), '10.0.0.0/30')
})

t.test(
  'grant() refuses blocks that overlap each other: storing them would fail for all who ask at that moment',
  async t => {
    for (const holds of [
      ['10.0.0.0/30', '10.0.0.0/31'],
      ['10.0.0.0/31', '10.0.0.0/30'],
      ['10.0.0.4/30', '10.0.0.4/30'],
    ]) {
      t.equal(outcome(ask(emptyState([POOL]), { holds, wants: [] })), 'overlaps', holds.join())
    }
  },
)

t.test('grant() gives no block again that the node says it has a part of', async t => {
  const state = emptyState([POOL])
  t.equal(outcome(ask(state, {})), '10.0.0.0/30')
  t.equal(outcome(ask(state, { sequence: 2, holds: ['10.0.0.0/31'] })), '10.0.0.4/30')
})

t.test('grant() refuses a request that comes late, and one of another daemon of the same name', async t => {
  const state = emptyState([POOL])
  ask(state, { sequence: 7 })
  t.same(ask(state, { sequence: 7 }), { kind: 'late-request', node: 'n1', sequence: 7 })
  t.match(ask(state, { sequence: 8, instance: 'i2' }), { kind: 'other-instance', blocks: 1 })
  ask(state, { sequence: 8, wants: [] })
  t.equal(outcome(ask(state, { sequence: 1, instance: 'i2' })), '10.0.0.0/30', 'nothing is at stake')
})

t.test(
  'grant() takes a block that a node holds for its own when this daemon knows nothing of it, and no other',
  async t => {
    const state = emptyState([POOL])
    t.equal(outcome(ask(state, { holds: ['10.0.0.0/30'] })), '10.0.0.4/30')
    t.match(ask(state, { node: 'n2', holds: ['10.0.0.0/29'] }), {
      kind: 'overlaps',
      other: { source: 'a block of pool "p" that node "n1" has' },
    })
    t.match(ask(state, { node: 'n2', holds: ['10.9.0.0/30'] }), {
      kind: 'overlaps',
      other: { source: 'not within pool "p"' },
    })
  },
)

t.test('grant() grants nothing of a pool whose blocks come from elsewhere', async t => {
  const pool = { ...POOL, blockSource: { type: 'socket', socket: '/run/up.sock' } as const }
  t.equal(ask(emptyState([pool]), {}).kind, 'unknown-pool')
})

const steps = fc.array(
  fc.record({
    node: fc.constantFrom('n1', 'n2', 'n3'),
    do: fc.constantFrom('want', 'want', 'lose the answer', 'come late', 'give back'),
    pick: fc.nat(9),
  }),
  { maxLength: 60, size: 'max' },
)

t.test('no two nodes hold overlapping blocks, whatever answers are lost and whatever requests come late', async t => {
  fc.assert(
    fc.property(steps, story => {
      const state = emptyState([POOL])
      const held = new Map<string, string[]>()
      const sequences = new Map<string, number>()
      const late: (Omit<GrantRequest, 'holds'> & { readonly holds: readonly string[] })[] = []
      for (const step of story) {
        const holds = held.get(step.node) ?? []
        const sequence = (sequences.get(step.node) ?? 0) + 1
        const request = { node: step.node, instance: step.node, sequence, wants: [4] as const, holds: [...holds] }
        if (step.do === 'give back') {
          held.set(step.node, holds.toSpliced(step.pick % Math.max(1, holds.length), 1))
          continue
        }
        sequences.set(step.node, sequence)
        if (step.do === 'come late') late.push(request)
        else {
          const decision = ask(state, request)
          const granted = decision.kind === 'granted' ? decision.blocks.map(formatPrefix) : []
          if (step.do === 'want') held.set(step.node, [...holds, ...granted])
        }
        // A request that nobody waits for any more reaches the upstream behind a later one of its node.
        const overtaken = late.findIndex(each => each.node === step.node && each.sequence < sequence)
        if (overtaken >= 0 && step.do !== 'come late') late.splice(overtaken, 1).forEach(each => ask(state, each))
        const all = [...held.values()].flat().map(parsePrefix)
        const clash = all.some((one, index) => all.slice(0, index).some(other => overlaps(one, other)))
        if (clash) throw new Error(`two nodes overlap: ${JSON.stringify([...held])}`)
      }
    }),
    { numRuns: 300 },
  )
  t.pass('300 histories')
})

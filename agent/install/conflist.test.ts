import t from 'tap'
import { ParseError } from '../../lib/net/parse-error.ts'
import { decideConflist } from './conflist.ts'

const OURS = JSON.stringify({
  cniVersion: '1.1.0',
  name: 'tulle',
  plugins: [{ type: 'tulle', mtu: 1450 }, { type: 'portmap' }],
})

function listOf(plugins: readonly object[], more: object = {}): string {
  return JSON.stringify({ cniVersion: '1.1.0', name: 'tulle', ...more, plugins })
}

function plugins(text: string): readonly unknown[] {
  return (JSON.parse(text) as { plugins: { type: string }[] }).plugins.map(({ type }) => type)
}

t.test('decideConflist() writes ours where there is none, or no list', t => {
  for (const there of [undefined, '', '{', '[]', '{"plugins":[{}]}', '{"plugins":4}']) {
    t.strictSame(decideConflist(OURS, there), { kind: 'write', text: OURS }, String(there))
  }
  t.end()
})

t.test('decideConflist() keeps what says the same, however it is written', t => {
  t.strictSame(decideConflist(OURS, OURS), { kind: 'keep' })
  t.strictSame(decideConflist(OURS, JSON.stringify(JSON.parse(OURS), null, 4)), { kind: 'keep' })
  t.end()
})

t.test('decideConflist() keeps what others added to the chain, in its place (R38)', t => {
  const added = listOf([
    { type: 'tulle', mtu: 1450 },
    { type: 'meter' },
    { type: 'portmap' },
    { type: 'istio-cni', x: 1 },
  ])
  t.strictSame(decideConflist(OURS, added), { kind: 'keep' })

  const outdated = listOf([
    { type: 'first' },
    { type: 'tulle', mtu: 9000 },
    { type: 'meter' },
    { type: 'istio-cni', x: 1 },
  ])
  const decision = decideConflist(OURS, outdated)
  if (decision.kind !== 'write') throw new Error('want it written')
  t.strictSame(plugins(decision.text), ['first', 'tulle', 'meter', 'istio-cni', 'portmap'])
  t.match(JSON.parse(decision.text), { plugins: [{}, { mtu: 1450 }, {}, { x: 1 }] }, 'ours is brought up to date')
  t.strictSame(decideConflist(OURS, decision.text), { kind: 'keep' }, 'and that is the end of it')
  t.end()
})

t.test('decideConflist() brings the head of the list up to date', t => {
  const older = listOf(JSON.parse(OURS).plugins as object[], { cniVersion: '1.0.0' })
  t.match(decideConflist(OURS, older), { kind: 'write', text: OURS })
  t.end()
})

t.test('decideConflist() refuses to install what is no list', t => {
  t.throws(() => decideConflist('{}', undefined), ParseError)
  t.end()
})

import fc from 'fast-check'
import t from 'tap'
import { arbitraryPrefix } from './arbitraries.ts'
import { containsPrefix, formatPrefix, overlaps, parsePrefix } from './prefix.ts'
import { outermost } from './outermost.ts'

t.test('outermost() keeps what lies in no other', t => {
  const texts = ['10.1.0.0/16', '10.0.0.0/8', '192.0.2.1/32', '10.0.0.0/8', 'fd00::/8', 'fd00:1::/32', '11.0.0.0/8']
  t.strictSame(outermost(texts.map(parsePrefix)).map(formatPrefix), [
    '10.0.0.0/8',
    '11.0.0.0/8',
    '192.0.2.1/32',
    'fd00::/8',
  ])
  t.end()
})

t.test('outermost() covers the same, and no two overlap', async () => {
  fc.assert(
    fc.property(fc.array(arbitraryPrefix, { maxLength: 20 }), prefixes => {
      const kept = outermost(prefixes)
      const isCovered = prefixes.every(prefix => kept.some(outer => containsPrefix(outer, prefix)))
      const isDisjoint = kept.every((a, i) => kept.every((b, j) => i === j || !overlaps(a, b)))
      return isCovered && isDisjoint && kept.every(prefix => prefixes.includes(prefix))
    }),
  )
})

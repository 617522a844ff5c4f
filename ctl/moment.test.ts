import fc from 'fast-check'
import t from 'tap'
import { formatMoment, parseMoment } from './moment.ts'

const NOW = Date.parse('2026-11-23T15:00:00Z')

const CASES = [
  { text: '14:03', want: '2026-11-23T14:03:00Z', name: 'a time of day is today' },
  { text: '15:00', want: '2026-11-23T15:00:00Z', name: 'now is today' },
  { text: '15:01', want: '2026-11-22T15:01:00Z', name: 'a time of day that is to come is of yesterday' },
  { text: '14:03:20', want: '2026-11-23T14:03:20Z', name: 'with seconds' },
  { text: '2026-11-01T14:03', want: '2026-11-01T14:03:00Z', name: 'without a zone it is UTC' },
  { text: '2026-11-01 14:03:20', want: '2026-11-01T14:03:20Z', name: 'with a space, as people write it' },
  { text: '2026-11-01T14:03:20.5+02:00', want: '2026-11-01T12:03:20Z', name: 'RFC 3339 with a zone' },
  { text: '2028-02-29t14:03:20z', want: '2028-02-29T14:03:20Z', name: 'RFC 3339 in lower case' },
] as const

for (const { text, want, name } of CASES) {
  t.test(`parseMoment() reads ${text}: ${name}`, async t => t.equal(formatMoment(parseMoment(text, NOW)), want))
}

t.test('parseMoment() refuses what no clock or calendar has', async t => {
  const texts = [
    '',
    '24:00',
    '14:60',
    '14',
    '2026-02-30T14:03',
    '2026-13-01T14:03',
    '2026-11-01',
    '2026-11-01T14:03+25:00',
  ]
  for (const text of texts) t.throws(() => parseMoment(text, NOW), { name: 'ParseError' }, text)
})

t.test('parseMoment() reads what formatMoment() writes', async () => {
  const moment = fc.integer({ min: 0, max: 4_000_000_000 })
  fc.assert(fc.property(moment, seconds => parseMoment(formatMoment(seconds * 1000), NOW) === seconds * 1000))
})

t.test('formatMoment() survives a time that no calendar has', async t => {
  t.equal(formatMoment(Number.MAX_SAFE_INTEGER), '9007199254740991')
})

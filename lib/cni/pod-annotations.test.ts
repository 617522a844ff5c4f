import fc from 'fast-check'
import t from 'tap'
import { parseNetworkConfiguration } from './configuration.ts'
import { CniError } from './errors.ts'
import { readPodAnnotations, type PodAnnotations } from './pod-annotations.ts'

const NOTHING = { addresses: undefined, stickySeconds: undefined, pool: undefined }

function read(annotations: unknown): PodAnnotations {
  const runtimeConfig = { 'io.kubernetes.cri.pod-annotations': annotations }
  return readPodAnnotations(parseNetworkConfiguration(JSON.stringify({ name: 'net', type: 'tulle', runtimeConfig })))
}

t.test('readPodAnnotations() finds ours among all that the pod has, and nothing in those of others (R33)', async t => {
  t.same(
    read({
      'kubernetes.io/psp': 'x',
      'tulle.dev/addresses': ' 10.244.1.7,fd00::7 ',
      'tulle.dev/pool': 'blue',
      'tulle.dev/sticky': '1h',
    }),
    { addresses: '10.244.1.7,fd00::7', stickySeconds: 3600, pool: 'blue' },
  )
  t.same(read({ 'tulle.dev/unknown': 'x', 'tulle.dev/addresses': '', 'tulle.dev/pool': ' ' }), NOTHING)
  t.same(read(undefined), NOTHING)
  t.same(read(null), NOTHING)
})

const times = [
  ['0', 0],
  ['90', 90],
  ['90s', 90],
  ['10m', 600],
  ['1h', 3600],
  ['30d', 2_592_000],
  ['2592000', 2_592_000],
] as const
for (const [text, want] of times) {
  t.test(`readPodAnnotations() reads "${text}" as ${want} s`, async t => {
    t.equal(read({ 'tulle.dev/sticky': text }).stickySeconds, want)
  })
}

for (const text of ['10 m', '-1', '1.5h', '1w', 'm', '31d', '2592001', '9999999d', '1e3', '٣']) {
  t.test(`readPodAnnotations() refuses "${text}" as a time (C7)`, async t => {
    t.throws(() => read({ 'tulle.dev/sticky': text }), {
      code: 7,
      message: `Cannot use pod annotation tulle.dev/sticky "${text}": want a time such as "90", "90s", "10m", "1h" or "1d", at most 30 days`,
    })
  })
}

t.test('readPodAnnotations() refuses what no annotation can be, with its name (C7)', async t => {
  t.throws(() => read([]), {
    code: 7,
    message: /runtimeConfig\.io\.kubernetes\.cri\.pod-annotations \[\]: want an obj/,
  })
  t.throws(() => read({ 'tulle.dev/pool': 'x'.repeat(254) }), {
    code: 7,
    message:
      /^Cannot use pod annotation tulle\.dev\/pool "x+"… \(254 characters\): want the name of a pool, at most 253 characters$/,
  })
  t.throws(() => read({ 'tulle.dev/pool': 5 }), {
    code: 7,
    message: 'Cannot use pod annotation tulle.dev/pool 5: want a string',
  })
})

t.test('readPodAnnotations() throws nothing but CniError with code 7, and keeps times in bounds', async t => {
  const key = fc.constantFrom('tulle.dev/addresses', 'tulle.dev/pool', 'tulle.dev/sticky', 'x')
  const text = fc.oneof(fc.string(), fc.stringMatching(/^[0-9]{1,9}[smhd]?$/), fc.jsonValue())
  fc.assert(
    fc.property(fc.dictionary(key, text), annotations => {
      try {
        const { stickySeconds } = read(annotations)
        return stickySeconds === undefined || (Number.isInteger(stickySeconds) && stickySeconds <= 2_592_000)
      } catch (failure) {
        return failure instanceof CniError && failure.code === 7
      }
    }),
  )
  t.pass()
})

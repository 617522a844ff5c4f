import fc from 'fast-check'
import t from 'tap'
import { remember, ripe, type Remembered } from './remember.ts'

const GRACE_MS = 100

t.test('remember() forgets what was not seen, so that it begins anew', async t => {
  const seen = [{ key: 'a' }]
  const first = remember(seen, { before: new Map(), nowUptimeMs: 0 })
  const gone = remember([], { before: first, nowUptimeMs: 150 })
  const again = remember(seen, { before: gone, nowUptimeMs: 200 })
  t.same(ripe(again, { graceMs: GRACE_MS, nowUptimeMs: 250 }), [])
  t.equal(again.get('a')?.sinceUptimeMs, 200)
})

t.test('ripe() wants two observations, even without a grace (R6)', async t => {
  const once = remember([{ key: 'a' }], { before: new Map(), nowUptimeMs: 5 })
  t.same(ripe(once, { graceMs: 0, nowUptimeMs: 5 }), [])
})

t.test(
  'ripe() gives only what every observation of at least the grace has seen, two or more of them (R6)',
  async () => {
    const observations = fc.array(
      fc.record({ afterMs: fc.nat(80), seen: fc.uniqueArray(fc.constantFrom('a', 'b', 'c')) }),
      { maxLength: 30 },
    )
    fc.assert(
      fc.property(observations, steps => {
        let memory: ReadonlyMap<string, Remembered> = new Map()
        let nowUptimeMs = 0
        const history: { readonly at: number; readonly seen: readonly string[] }[] = []
        for (const { afterMs, seen } of steps) {
          nowUptimeMs += afterMs
          history.push({ at: nowUptimeMs, seen })
          memory = remember(
            seen.map(key => ({ key })),
            { before: memory, nowUptimeMs },
          )
          const given = new Set(ripe(memory, { graceMs: GRACE_MS, nowUptimeMs }).map(({ key }) => key))
          for (const key of ['a', 'b', 'c']) {
            const missed = history.findLastIndex(each => !each.seen.includes(key))
            const unbroken = history.slice(missed + 1)
            const spanMs = nowUptimeMs - (unbroken[0]?.at ?? nowUptimeMs)
            if (given.has(key) !== spanMs >= GRACE_MS) throw new Error(`${key}: seen for ${spanMs} ms`)
          }
        }
      }),
    )
  },
)

import fc from 'fast-check'
import t from 'tap'
import { HistoryCutOff } from './history-cut-off.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const KEEP_MS = 30 * DAY_MS
const NOW = 1_700_000_000_000

/** One look of housekeeping, as hours since the first. */
function look(cutOff: HistoryCutOff, { atHours, oldestDaysAgo, setByDays = 0 }: Look): number | undefined {
  const uptimeMs = atHours * HOUR_MS
  const before = cutOff.next({
    oldestUnixMs: oldestDaysAgo === undefined ? undefined : NOW - oldestDaysAgo * DAY_MS,
    nowUnixMs: NOW + uptimeMs + setByDays * DAY_MS,
    uptimeMs,
    keepMs: KEEP_MS,
  })
  return before === undefined ? undefined : (NOW - before) / DAY_MS
}

interface Look {
  readonly atHours: number
  readonly oldestDaysAgo: number | undefined
  readonly setByDays?: number
}

t.test('next() follows a clock that nobody sets: what is older than is kept goes', async t => {
  const cutOff = new HistoryCutOff()
  t.equal(look(cutOff, { atHours: 0, oldestDaysAgo: 29 }), 30)
  t.equal(look(cutOff, { atHours: 24, oldestDaysAgo: 29 }), 29)
  t.equal(look(cutOff, { atHours: 48, oldestDaysAgo: 29 }), 28)
})

t.test('next() goes on a day for each hour when the clock is set ten years forward', async t => {
  const cutOff = new HistoryCutOff()
  look(cutOff, { atHours: 0, oldestDaysAgo: 29 })
  t.equal(look(cutOff, { atHours: 0, oldestDaysAgo: 29, setByDays: 3650 }), 30, 'nothing at once')
  t.equal(look(cutOff, { atHours: 1, oldestDaysAgo: 29, setByDays: 3650 }), 29)
  t.equal(look(cutOff, { atHours: 3, oldestDaysAgo: 28, setByDays: 3650 }), 27)
  const right = look(cutOff, { atHours: 4, oldestDaysAgo: 26 })
  t.equal(right, 30 - 4 / 24, 'the clock is right again, and nothing more goes')
})

t.test('next() forgets nothing at once at the start of a daemon, whatever the clock says', async t => {
  const cutOff = new HistoryCutOff()
  t.equal(look(cutOff, { atHours: 5, oldestDaysAgo: 29, setByDays: 3650 }), 29)
  t.equal(look(cutOff, { atHours: 6, oldestDaysAgo: 29, setByDays: 3650 }), 28)
})

t.test('next() does not wait where there is nothing: a clock that was wrong at boot', async t => {
  const cutOff = new HistoryCutOff()
  t.equal(look(cutOff, { atHours: 0, oldestDaysAgo: 20_000 }), 20_000)
  t.equal(look(cutOff, { atHours: 1, oldestDaysAgo: 20_000 }), 19_999)
  t.equal(look(cutOff, { atHours: 2, oldestDaysAgo: 40 }), 39, 'behind the gap')
  t.equal(look(cutOff, { atHours: 3, oldestDaysAgo: 37 }), 38, 'what is less far apart is waited for')
})

t.test('next() has nothing to forget without history', async t => {
  t.equal(look(new HistoryCutOff(), { atHours: 0, oldestDaysAgo: undefined }), undefined)
})

t.test('next() never forgets more than a day for each hour, nor what is to be kept, nor less for ever', async () => {
  const step = fc.record({ hours: fc.integer({ min: 0, max: 48 }), setByDays: fc.integer({ min: -4000, max: 4000 }) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.integer({ min: 0, max: 100 }), (steps, spanDays) => {
      const cutOff = new HistoryCutOff()
      let atHours = 0
      // A row for each day, the oldest first.
      const rows = Array.from({ length: spanDays }, (_, day) => spanDays - day)
      for (const { hours, setByDays } of [{ hours: 0, setByDays: 0 }, ...steps]) {
        atHours += hours
        const daysAgo = look(cutOff, { atHours, oldestDaysAgo: rows[0], setByDays })
        if (daysAgo === undefined) continue
        const kept = rows.filter(row => row <= daysAgo)
        const gone = rows.length - kept.length
        if (gone > hours + 1) throw new Error(`${gone} days gone after ${hours} h`)
        // A thousandth of a day for what division rounds.
        if (gone > 0 && daysAgo < 29.999 - atHours / 24 - setByDays)
          throw new Error(`${daysAgo} days ago is to be kept`)
        rows.splice(0, gone)
      }
      for (let hour = 0; hour < 101; hour++) {
        atHours += 1
        const daysAgo = look(cutOff, { atHours, oldestDaysAgo: rows[0] })
        if (daysAgo !== undefined) rows.splice(0, rows.filter(row => row > daysAgo).length)
      }
      if ((rows[0] ?? 0) > 30) throw new Error(`a row of ${rows[0]} days ago stays`)
    }),
  )
})

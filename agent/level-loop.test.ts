import t from 'tap'
import { LevelLoop } from './level-loop.ts'

async function until(what: string, condition: () => boolean): Promise<void> {
  const endsAtMs = performance.now() + 10_000
  while (!condition()) {
    if (performance.now() > endsAtMs) throw new Error(`waited in vain until ${what}`)
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}

/** A loop whose passes are counted, and end as `outcome` says. */
function loopOf(everyMs: number, outcome: (pass: number) => boolean | Promise<boolean>) {
  const seen = { passes: 0, atOnce: 0, most: 0, errors: 0 }
  const stop = new AbortController()
  const loop = new LevelLoop({
    pass: async () => {
      seen.passes += 1
      seen.atOnce += 1
      seen.most = Math.max(seen.most, seen.atOnce)
      try {
        return await outcome(seen.passes)
      } finally {
        seen.atOnce -= 1
      }
    },
    everyMs,
    restFactor: 1,
    onError: () => (seen.errors += 1),
    random: () => 0,
  })
  return { loop, seen, stop, running: loop.run(stop.signal) }
}

t.test('LevelLoop looks at its start, when it is poked, and never twice at a time', async t => {
  const { loop, seen, stop, running } = loopOf(3_600_000, () => true)
  await until('it looked', () => seen.passes === 1)
  loop.poke()
  await until('it looked again', () => seen.passes === 2)
  for (let i = 0; i < 1000; i++) loop.poke()
  await until('once for many', () => seen.passes === 3)
  stop.abort()
  await running
  t.equal(seen.most, 1)
  t.ok(seen.passes <= 4, 'a burst is one look, or two')
})

t.test('LevelLoop does not miss a poke that comes while it looks', async () => {
  const gate = Promise.withResolvers<boolean>()
  const { loop, seen, stop, running } = loopOf(3_600_000, pass => (pass === 1 ? gate.promise : true))
  await until('it is looking', () => seen.atOnce === 1)
  loop.poke()
  gate.resolve(true)
  await until('it looked again', () => seen.passes === 2)
  stop.abort()
  await running
})

t.test('LevelLoop tries again what did not end well, with growing pauses, until it does', async t => {
  const times: number[] = []
  const { seen, stop, running } = loopOf(3_600_000, pass => {
    times.push(performance.now())
    if (pass === 1) throw new Error('broken')
    return pass === 4
  })
  await until('it came to rest', () => seen.passes === 4)
  t.equal(seen.errors, 1)
  const [a = 0, b = 0, c = 0, d = 0] = times
  t.ok(b - a >= 200 && c - b >= 400 && d - c >= 800, 'pauses grow')
  stop.abort()
  await running
  t.equal(seen.passes, 4, 'and then it rests')
})

t.test('LevelLoop looks now and then without a reason', async () => {
  const { seen, stop, running } = loopOf(20, () => true)
  await until('it looked five times', () => seen.passes >= 5)
  stop.abort()
  await running
})

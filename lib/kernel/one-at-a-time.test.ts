import t from 'tap'
import { Deadline, DeadlineExceeded } from '../time/deadline.ts'
import { OneAtATime } from './one-at-a-time.ts'

const soon = (doing: string) => ({ by: Deadline.in(10_000), doing })

t.test('run() starts tasks in order, each when the one before has ended, also when that failed', async t => {
  const turns = new OneAtATime()
  const seen: string[] = []
  const task = (name: string) => async () => {
    seen.push(`${name} begins`)
    await new Promise(setImmediate)
    seen.push(`${name} ends`)
    if (name === 'b') throw new Error('b failed')
    return name
  }
  const results = await Promise.allSettled(['a', 'b', 'c'].map(name => turns.run(task(name), soon(name))))
  t.strictSame(seen, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends'])
  t.match(results, [{ value: 'a' }, { reason: { message: 'b failed' } }, { value: 'c' }])
})

t.test('run() gives up waiting at its own deadline, and never starts that task (invariant 6)', async t => {
  const turns = new OneAtATime()
  const release = Promise.withResolvers<undefined>()
  const first = turns.run(() => release.promise, soon('first'))
  let started = false
  const late = turns.run(async () => (started = true), { by: Deadline.in(10), doing: 'asking' })
  const third = turns.run(async () => 'third', soon('third'))
  await t.rejects(late, new DeadlineExceeded('waiting for others before asking'))
  release.resolve(undefined)
  await first
  t.equal(await third, 'third')
  t.equal(started, false)
})

t.test('run() does not start a task whose deadline has passed', async t => {
  const turns = new OneAtATime()
  await t.rejects(
    turns.run(async () => t.fail('started'), { by: Deadline.in(0), doing: 'asking' }),
    new DeadlineExceeded('asking'),
  )
  t.equal(await turns.run(async () => 'next', soon('next')), 'next')
})

import t from 'tap'
import { Deadline } from '../../lib/time/deadline.ts'
import { Gate } from './gate.ts'

/** A task that ends when it is told to. */
function task(name: string, log: string[]) {
  const { promise, resolve } = Promise.withResolvers<void>()
  const run = async (): Promise<string> => {
    log.push(name)
    await promise
    return name
  }
  return { run, end: resolve }
}

t.test('pass() lets as many in as the gate is wide, and the others in the order in which they came', async t => {
  const log: string[] = []
  const gate = new Gate(2)
  const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(name => task(name, log)) as [Task, Task, Task, Task]
  const all = [a, b, c, d].map(({ run }) => gate.pass(run, Deadline.in(10_000)))
  t.same(log, ['a', 'b'])
  t.equal(gate.waiting, 2)
  b.end()
  t.equal(await all[1], 'b')
  await turn()
  t.same(log, ['a', 'b', 'c'])
  for (const each of [a, c, d]) each.end()
  t.same(await Promise.all(all), ['a', 'b', 'c', 'd'])
  t.same(log, ['a', 'b', 'c', 'd'])
  t.equal(gate.waiting, 0)
})

t.test('pass() does not start what waited for too long, and goes on with the next', async t => {
  const log: string[] = []
  const gate = new Gate(1)
  const [a, b, c] = ['a', 'b', 'c'].map(name => task(name, log)) as [Task, Task, Task]
  const first = gate.pass(a.run, Deadline.in(10_000))
  const late = gate.pass(b.run, Deadline.in(1))
  const third = gate.pass(c.run, Deadline.in(10_000))
  await t.rejects(late, { name: 'DeadlineExceeded' })
  a.end()
  c.end()
  await Promise.all([first, third])
  t.same(log, ['a', 'c'])
})

t.test('pass() gives its place back when the task fails', async t => {
  const gate = new Gate(1)
  await t.rejects(
    gate.pass(() => Promise.reject(new Error('no')), Deadline.in(10_000)),
    { message: 'no' },
  )
  t.equal(await gate.pass(async () => 'yes', Deadline.in(10_000)), 'yes')
})

type Task = ReturnType<typeof task>

function turn(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

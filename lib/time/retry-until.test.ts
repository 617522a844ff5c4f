import t from 'tap'
import { Deadline } from './deadline.ts'
import { retryUntil } from './retry-until.ts'

class Busy extends Error {
  override readonly name = 'Busy'
}
const isPassing = (failure: unknown): boolean => failure instanceof Busy

t.test('retryUntil() goes on until the work succeeds', async t => {
  let tries = 0
  const work = (): number => {
    if (++tries < 4) throw new Busy()
    return tries
  }
  t.equal(await retryUntil(work, { by: Deadline.in(60_000), everyMs: 1, isPassing }), 4)
})

t.test('retryUntil() ends with a failure that does not pass', async t => {
  let tries = 0
  const work = async (): Promise<never> => {
    throw ++tries < 3 ? new Busy() : new TypeError('broken')
  }
  await t.rejects(retryUntil(work, { by: Deadline.in(60_000), everyMs: 1, isPassing }), { message: 'broken' })
  t.equal(tries, 3)
})

t.test('retryUntil() tries once where there is no time, and ends with the last failure where it passes', async t => {
  let tries = 0
  const work = (): never => {
    throw new Busy(String(++tries))
  }
  await t.rejects(retryUntil(work, { by: Deadline.in(0), everyMs: 1, isPassing }), { message: '1' })
  await t.rejects(retryUntil(work, { by: Deadline.in(200), everyMs: 1, isPassing }), { name: 'Busy' })
  t.ok(tries > 2)
})

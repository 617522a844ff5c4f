import t from 'tap'
import { allEnded } from './all-ended.ts'

t.test('allEnded() gives the results in order', async t => {
  t.same(await allEnded([Promise.resolve(1), Promise.resolve('x'), Promise.resolve(undefined)]), [1, 'x', undefined])
})

t.test('allEnded() fails when all have ended, with the first failure in their order', async t => {
  const { promise, resolve } = Promise.withResolvers<void>()
  let hasEnded = false
  const slow = promise.then(() => {
    hasEnded = true
    throw new Error('first')
  })
  const failed = allEnded([slow, Promise.reject(new Error('second'))])
  const seen = failed.catch((failure: unknown) => ({ failure, hasEnded }))
  await new Promise(setImmediate)
  resolve()
  t.match(await seen, { failure: { message: 'first' }, hasEnded: true })
})

import t from 'tap'
import { keepHouse } from './housekeeping.ts'

t.test('keepHouse() says what failed, and goes on with the rest', async t => {
  const said: string[] = []
  const log = { info: () => {}, warn: () => {}, error: (message: string) => void said.push(message) }
  const fails = (): never => {
    throw new Error('no')
  }
  const service = { storeClockStep: fails, giveBackBlocks: async () => fails(), trimHistory: fails }
  let trimmed = 0
  await keepHouse(service, { history: { keepMs: 1, maxRows: 1 }, log, trimMemory: () => (trimmed += 1) })
  t.same(said, ['following the clock failed', 'giving back blocks failed', 'trimming the history failed'])
  t.equal(trimmed, 1)
})

import t from 'tap'
import { startForTest } from '../ipamd/api/test-daemon.ts'
import { anySeed, runCampaign } from './campaign.ts'
import { readCorpus } from './corpus.ts'
import { runSocketCase } from './run-socket-case.ts'
import { socketCase } from './socket-arbitraries.ts'
import type { SocketCase } from './socket-case.ts'

// Whatever is written to ipamd's socket: one response with the right kind of document or an end of the connection, never a
// 500, and a refused request changes nothing (invariant 8).

const CASES = 200
const seed = anySeed()

t.test(`ipamd survives ${CASES} hostile clients, seed ${seed}`, async t => {
  await using daemon = await startForTest()
  const subject = { name: 'socket', cases: socketCase, run: (each: SocketCase) => runSocketCase(each, daemon) }
  const { outcomes, failure } = await runCampaign(subject, { cases: CASES, seed })
  t.equal(failure, undefined)
  t.ok(
    outcomes.some(([outcome]) => outcome === 'socket 200'),
    'some of them get through',
  )
})

for (const { name, content } of readCorpus('socket')) {
  t.test(`ipamd survives ${name}`, async t => {
    await using daemon = await startForTest()
    t.strictSame((await runSocketCase(content as SocketCase, daemon)).problems, [])
  })
}

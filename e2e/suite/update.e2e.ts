// Tulle is updated while pods come and go: no pod fails because of it, those that live notice nothing, and nothing is left.
import t from 'tap'
import { Daemons } from './harness/daemons.ts'
import { underChurn } from './harness/churn.ts'
import { tellFigure } from './harness/figures.ts'
import { pingsOf, startPingedServers } from './harness/pings.ts'
import { setUp } from './harness/setting.ts'

/** What kubelet says of a pod whose network could not be made, or not be taken away. */
const FAILURES = ['FailedCreatePodSandBox', 'FailedKillPod']

const { kubernetes, provider, nodeNames } = await setUp()
const daemons = new Daemons(provider)
await startPingedServers(kubernetes, nodeNames)

t.test('the DaemonSet is rolled under pod churn: no sandbox fails, and no packet is lost', async t => {
  const before = await daemons.podNames()
  const toldBefore = await kubernetes.eventsWith(FAILURES)
  const startedAtMs = performance.now()
  const churn = await underChurn(kubernetes, nodeNames, async () => daemons.roll())
  await tellFigure(t, { what: 'rolled on every node, under churn', valueMs: performance.now() - startedAtMs })
  t.comment(`${churn.during} pods came and went meanwhile`)
  t.ok(churn.during > nodeNames.length, 'pods came and went on the nodes meanwhile')
  t.equal(churn.afterwards, nodeNames.length, 'and on every node afterwards')
  const after = await daemons.podNames()
  t.equal(after.length, nodeNames.length)
  t.same(
    after.filter(name => before.includes(name)),
    [],
    'every pod of Tulle is another one',
  )
  t.same(await kubernetes.eventsWith(FAILURES), toldBefore, 'no pod was told that it failed')
  const pings = await pingsOf(kubernetes, 'pinging')
  for (const { address, sent, answered } of pings) t.equal(answered, sent, `answers from ${address}`)
})

import './harness/isolated.ts'
import t, { type Test } from 'tap'
import { Netns } from './harness/namespace.ts'
import { countFrom, randomFrom, seedFrom } from './harness/random.ts'
import { asObjects } from './harness/json.ts'
import { newAttachment, type ChainOutcome, type RuntimeAttachment } from './harness/runtime.ts'
import { TulleNode } from './harness/tulle-node.ts'
import { until } from './harness/until.ts'

// ipamd killed while it does calls of the plugin: every call ends in time, the executable takes over, nothing leaks
// (invariants 2, 6 and 7).

const ROUNDS = countFrom('TULLE_SERVED_CHAOS_ROUNDS', 2)
const PODS = countFrom('TULLE_SERVED_CHAOS_PODS', 24)
const SEED = seedFrom('TULLE_SERVED_CHAOS_SEED')

/** A launcher waits 10 s for ipamd, tulle-node 30 s; a machine that starts a hundred of them at once needs some more. */
const CALL_LIMIT_MS = 60_000

t.test(
  `ipamd killed while ${PODS} ADDs and DELs are under way, ${ROUNDS} times`,
  { timeout: 60_000 + ROUNDS * 120_000 },
  async t => {
    t.comment(`TULLE_SERVED_CHAOS_SEED=${SEED}`)
    const random = randomFrom(SEED)
    await using node = await TulleNode.start({ limitMs: CALL_LIMIT_MS })
    const pods = await createPods(PODS)
    const before = await node.snapshot()
    const seen: Seen = { ended: 0, direct: 0, refused: 0, slowestMs: 0, startMs: 0 }
    for (let round = 1; round <= ROUNDS; round++) {
      await killInTheMiddle(t, { node, pods, killAfter: random.below(PODS), title: `round ${round}`, seen })
      t.same((await node.ipamd.get('/v1/check'))['findings'], [], `round ${round}: store and kernel agree`)
      t.equal(await node.snapshot(), before, `round ${round}: nothing is left`)
    }
    t.ok(seen.direct > 0, 'the executable has taken over')
    t.comment(`${seen.direct} calls were done without ipamd`)
    t.comment(
      `${seen.ended} calls ended, the slowest after ${seen.slowestMs} ms; ${seen.refused} ADDs were told to try again`,
    )
    t.comment(`ipamd accepted connections at most ${seen.startMs} ms after it was started`)
    for (const pod of pods) await pod.delete()
  },
)

interface Round {
  readonly node: TulleNode
  readonly pods: readonly Netns[]
  /** How many calls have ended when ipamd is killed. */
  readonly killAfter: number
  readonly title: string
  readonly seen: Seen
}

/** What was measured in all rounds. */
interface Seen {
  /** Calls under way when ipamd was killed, or started after that. */
  ended: number
  /** Of these and the DELs after them: done by the executable. */
  direct: number
  /** ADDs that got code 11. */
  refused: number
  slowestMs: number
  /** The longest time from ipamd's start until it accepts connections. */
  startMs: number
}

async function killInTheMiddle(t: Test, { node, pods, killAfter, title, seen }: Round): Promise<void> {
  const attachments = pods.map(pod => newAttachment(pod))
  const leaving = attachments.filter((_, index) => index % 2 === 0)
  const coming = attachments.filter((_, index) => index % 2 === 1)
  for (const outcome of await Promise.all(leaving.map(attachment => node.runtime.add(attachment))))
    if (outcome.exitCode !== 0) throw new Error(`${title}: ${outcome.stdout}`)

  let ended = 0
  const counted = async (call: Promise<ChainOutcome>): Promise<ChainOutcome> => call.finally(() => (ended += 1))
  const killed = until('some calls have ended', () => ended >= killAfter, CALL_LIMIT_MS).then(() => node.ipamd.kill())
  const deleted = leaving.map(attachment => counted(node.runtime.del(attachment)))
  const added = coming.map(attachment => counted(node.runtime.add(attachment)))
  await killed
  const killedAtMs = performance.now()
  await node.startIpamd()
  seen.startMs = Math.max(seen.startMs, Math.round(performance.now() - killedAtMs))

  for (const { wallMs } of await Promise.all([...deleted, ...added])) {
    seen.ended += 1
    seen.slowestMs = Math.max(seen.slowestMs, Math.round(wallMs))
  }
  for (const outcome of await Promise.all(deleted)) {
    t.equal(outcome.exitCode, 0, `${title}: DEL needs no ipamd (R13) ${outcome.stdout}`)
    t.ok(outcome.wallMs < CALL_LIMIT_MS, `${title}: DEL ends in time`)
  }
  for (const [index, outcome] of (await Promise.all(added)).entries()) {
    t.ok(outcome.wallMs < CALL_LIMIT_MS, `${title}: ADD ends in time`)
    // Without ipamd there is no address: then it says to try again, and has left nothing.
    if (outcome.exitCode !== 0) {
      t.match(outcome.json, { code: 11 }, `${title}: ADD`)
      seen.refused += 1
    } else await holds(t, node, { attachment: coming[index], title })
  }
  const gone = await Promise.all(coming.map(attachment => node.runtime.del(attachment)))
  for (const outcome of gone) t.equal(outcome.exitCode, 0, `${title}: DEL at the end ${outcome.stdout}`)
  for (const { calls } of asObjects((await node.ipamd.get('/v1/served'))['fallbacks'], 'fallbacks'))
    seen.direct += Number(calls)
  // What was spooled while ipamd was down is carried out when it starts; what was spooled after that by another start.
  await node.stopIpamd()
  await node.startIpamd()
}

async function holds(
  t: Test,
  node: TulleNode,
  { attachment, title }: { readonly attachment: RuntimeAttachment | undefined; readonly title: string },
): Promise<void> {
  if (attachment === undefined) throw new Error('more outcomes than calls')
  const checked = await node.runtime.check(attachment)
  t.equal(checked.stdout, '', `${title}: what was added is whole`)
}

async function createPods(count: number): Promise<readonly Netns[]> {
  const pods: Netns[] = []
  for (let pod = 0; pod < count; pod++) pods.push(await Netns.create('pod'))
  return pods
}

import './harness/isolated.ts'
import { readdirSync, readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { Netns } from './harness/namespace.ts'
import { countFrom, randomFrom, seedFrom } from './harness/random.ts'
import { newAttachment, type ChainOutcome, type RuntimeAttachment } from './harness/runtime.ts'
import { TulleNode } from './harness/tulle-node.ts'
import { until } from './harness/until.ts'

// ipamd killed while it does calls of the plugin, and pods that come and go without end: every call ends in time, the
// executable takes over, nothing leaks (invariants 2, 6 and 7).

const ROUNDS = countFrom('TULLE_SERVED_CHAOS_ROUNDS', 2)
const PODS = countFrom('TULLE_SERVED_CHAOS_PODS', 24)
const SEED = seedFrom('TULLE_SERVED_CHAOS_SEED')
const CHURN = countFrom('TULLE_SERVED_CHURN', 60)

/** A launcher waits 10 s for ipamd, tulle-node 30 s; a machine that starts a hundred of them at once needs some more. */
const CALL_LIMIT_MS = 60_000
/** What ipamd may have more after many pods than after a few: its caches, not its pods. */
const MEMORY_ALLOWANCE_BYTES = 32 * 1024 * 1024
const WARM_UP = 30
/** Netlink sockets that ipamd keeps open for the next calls, of two kinds: as many as were needed at once, and no more than 8. */
const IDLE_SOCKETS = 16

t.test(
  `ipamd killed while ${PODS} ADDs and DELs are under way, ${ROUNDS} times`,
  { timeout: 60_000 + ROUNDS * 120_000 },
  async t => {
    t.comment(`TULLE_SERVED_CHAOS_SEED=${SEED}`)
    const random = randomFrom(SEED)
    await using node = await TulleNode.start()
    const pods = await createPods(PODS)
    const before = await node.snapshot()
    for (let round = 1; round <= ROUNDS; round++) {
      await killInTheMiddle(t, { node, pods, killAfter: random.below(PODS), title: `round ${round}` })
      t.same((await node.ipamd.get('/v1/check'))['findings'], [], `round ${round}: store and kernel agree`)
      t.equal(await node.snapshot(), before, `round ${round}: nothing is left`)
    }
    for (const pod of pods) await pod.delete()
  },
)

interface Round {
  readonly node: TulleNode
  readonly pods: readonly Netns[]
  /** How many calls have ended when ipamd is killed. */
  readonly killAfter: number
  readonly title: string
}

async function killInTheMiddle(t: Test, { node, pods, killAfter, title }: Round): Promise<void> {
  const attachments = pods.map(pod => newAttachment(pod))
  const leaving = attachments.filter((_, index) => index % 2 === 0)
  const coming = attachments.filter((_, index) => index % 2 === 1)
  for (const outcome of await Promise.all(leaving.map(attachment => node.runtime.add(attachment))))
    t.equal(outcome.exitCode, 0, `${title}: ${outcome.stdout}`)

  let ended = 0
  const counted = async (call: Promise<ChainOutcome>): Promise<ChainOutcome> => call.finally(() => (ended += 1))
  const killed = until('some calls have ended', () => ended >= killAfter, CALL_LIMIT_MS).then(() => node.ipamd.kill())
  const deleted = leaving.map(attachment => counted(node.runtime.del(attachment)))
  const added = coming.map(attachment => counted(node.runtime.add(attachment)))
  await killed
  await node.startIpamd()

  for (const outcome of await Promise.all(deleted)) {
    t.equal(outcome.exitCode, 0, `${title}: DEL needs no ipamd (R13) ${outcome.stdout}`)
    t.ok(outcome.wallMs < CALL_LIMIT_MS, `${title}: DEL ends in time`)
  }
  for (const [index, outcome] of (await Promise.all(added)).entries()) {
    t.ok(outcome.wallMs < CALL_LIMIT_MS, `${title}: ADD ends in time`)
    // Without ipamd there is no address: then it says to try again, and has left nothing.
    if (outcome.exitCode !== 0) t.match(outcome.json, { code: 11 }, `${title}: ADD`)
    else await holds(t, node, { attachment: coming[index], title })
  }
  const gone = await Promise.all(coming.map(attachment => node.runtime.del(attachment)))
  for (const outcome of gone) t.equal(outcome.exitCode, 0, `${title}: DEL at the end ${outcome.stdout}`)
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

t.test(`${CHURN} pods come and go: ipamd is as it was`, { timeout: 120_000 + CHURN * 4_000 }, async t => {
  await using node = await TulleNode.start()
  const pods = await createPods(10)
  const churn = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done += pods.length) {
      const attachments = pods.map(pod => newAttachment(pod))
      for (const outcome of await Promise.all(attachments.map(attachment => node.runtime.add(attachment))))
        if (outcome.exitCode !== 0) throw new Error(outcome.stdout)
      for (const outcome of await Promise.all(attachments.map(attachment => node.runtime.del(attachment))))
        if (outcome.exitCode !== 0) throw new Error(outcome.stdout)
    }
  }
  await churn(WARM_UP)
  const before = await node.snapshot()
  const descriptors = descriptorsOf(node.ipamd.pid)
  const memoryBytes = memoryOf(node.ipamd.pid)
  await churn(CHURN)
  t.equal(await node.snapshot(), before, 'no rule, link, lease or file more than before')
  await until('no descriptor more than before', () => descriptorsOf(node.ipamd.pid) <= descriptors + IDLE_SOCKETS)
  const grownBytes = memoryOf(node.ipamd.pid) - memoryBytes
  t.comment(`memory of ipamd: ${memoryBytes} bytes, and ${grownBytes} more after ${CHURN} pods`)
  t.ok(grownBytes < MEMORY_ALLOWANCE_BYTES, `memory has grown by ${grownBytes} bytes`)
  t.same((await node.ipamd.get('/v1/check'))['findings'], [])
  t.same((await node.ipamd.get('/v1/served'))['fallbacks'], [], 'ipamd did it all')
  for (const pod of pods) await pod.delete()
})

async function createPods(count: number): Promise<readonly Netns[]> {
  const pods: Netns[] = []
  for (let pod = 0; pod < count; pod++) pods.push(await Netns.create('pod'))
  return pods
}

function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

function memoryOf(pid: number): number {
  const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  if (resident === undefined) throw new Error(`no VmRSS of process ${pid}`)
  return Number(resident) * 1024
}

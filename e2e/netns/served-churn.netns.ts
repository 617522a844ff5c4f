import './harness/isolated.ts'
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { Netns } from './harness/namespace.ts'
import { asObjects } from './harness/json.ts'
import { countFrom } from './harness/random.ts'
import { newAttachment } from './harness/runtime.ts'
import { TulleNode } from './harness/tulle-node.ts'
import { until } from './harness/until.ts'

// Pods that come and go without end: ipamd does all of it, and afterwards it is as it was (invariants 2 and 7).

const CHURN = countFrom('TULLE_SERVED_CHURN', 60)

/** What ipamd may have more after many pods than after a few: its caches, not its pods. */
const MEMORY_ALLOWANCE_BYTES = 32 * 1024 * 1024
/** And what it may have more at the end than after a thousand pods, when its caches are full. */
const SETTLED_AFTER = 1000
const SETTLED_ALLOWANCE_BYTES = 8 * 1024 * 1024
const WARM_UP = 30
/** Netlink sockets that ipamd keeps open for the next calls, of two kinds: as many as were needed at once, and no more than 8. */
const IDLE_SOCKETS = 16
/** Pods at a time. */
const PODS = 10
/** After so many pods the memory is looked at. */
const LOOK_EVERY = 500

t.test(`${CHURN} pods come and go: ipamd is as it was`, { timeout: 120_000 + CHURN * 4_000 }, async t => {
  await using node = await TulleNode.start()
  const pods: Netns[] = []
  for (let pod = 0; pod < PODS; pod++) pods.push(await Netns.create('pod'))
  const comeAndGo = async (): Promise<void> => {
    const attachments = pods.map(pod => newAttachment(pod))
    for (const outcome of await Promise.all(attachments.map(attachment => node.runtime.add(attachment))))
      if (outcome.exitCode !== 0) throw new Error(outcome.stdout)
    for (const outcome of await Promise.all(attachments.map(attachment => node.runtime.del(attachment))))
      if (outcome.exitCode !== 0) throw new Error(outcome.stdout)
  }
  for (let done = 0; done < WARM_UP; done += PODS) await comeAndGo()
  const before = await node.snapshot()
  const descriptors = descriptorsOf(node.ipamd.pid)
  const memoryBytes = memoryOf(node.ipamd.pid)
  const onTheWay: number[] = []
  for (let done = PODS; done <= CHURN; done += PODS) {
    await comeAndGo()
    if (done % LOOK_EVERY === 0) onTheWay.push(memoryOf(node.ipamd.pid))
  }
  t.equal(await node.snapshot(), before, 'no rule, link, lease or file more than before')
  await until('no descriptor more than before', () => descriptorsOf(node.ipamd.pid) <= descriptors + IDLE_SOCKETS)
  const grownBytes = memoryOf(node.ipamd.pid) - memoryBytes
  t.comment(`memory of ipamd, in MiB: ${[memoryBytes, ...onTheWay].map(inMebibytes).join(', ')}`)
  t.comment(`descriptors of ipamd: ${descriptors} before, ${descriptorsOf(node.ipamd.pid)} after`)
  t.ok(grownBytes < MEMORY_ALLOWANCE_BYTES, `memory has grown by ${grownBytes} bytes`)
  const settledBytes = onTheWay[SETTLED_AFTER / LOOK_EVERY - 1]
  if (settledBytes !== undefined)
    t.ok(memoryOf(node.ipamd.pid) < settledBytes + SETTLED_ALLOWANCE_BYTES, 'memory is flat')
  t.same((await node.ipamd.get('/v1/check'))['findings'], [])
  const fallbacks = asObjects((await node.ipamd.get('/v1/served'))['fallbacks'], 'fallbacks')
  // A machine that does much else makes a call wait for longer than a launcher does.
  const late = fallbacks.filter(({ reason }) => reason === 'late').reduce((sum, { calls }) => sum + Number(calls), 0)
  t.comment(`${late} of ${2 * CHURN} calls were late, and done by the executable`)
  t.ok(late <= CHURN / 100, 'ipamd did it all')
  t.same(
    fallbacks.filter(({ reason }) => reason !== 'late'),
    [],
    'and broke or declined nothing',
  )
  for (const pod of pods) await pod.delete()
})

function descriptorsOf(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length
}

function memoryOf(pid: number): number {
  const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  if (resident === undefined) throw new Error(`no VmRSS of process ${pid}`)
  return Number(resident) * 1024
}

function inMebibytes(bytes: number): string {
  return (bytes / 1024 / 1024).toFixed(1)
}

import { randomInt } from 'node:crypto'
import { type Check, SPEC } from '../check.ts'
import { leftoversSince } from '../leftovers.ts'
import { addressesOf } from '../result.ts'
import type { Pod, Stage } from '../stage.ts'

const CONCURRENT = `${SPEC.lifecycle}: "Plugins must handle being executed concurrently across different containers"`

/** Rounds of the checks that kill a plugin: each at another moment of its run. */
const KILL_ROUNDS = 10

/** Many containers at once, and runs that are killed. */
export const crowdChecks: readonly Check[] = [
  ...[50, 200].map((count): Check => ({
    id: `A10.concurrent-${count}`,
    basis: 'must',
    source: CONCURRENT,
    expected: `${count} ADDs of different containers at once succeed, each with addresses of its own, and so do ${count} DELs.`,
    needs: ['addresses'],
    async run(stage) {
      const before = await stage.node.state()
      const pods = await podsOf(stage, count)
      const added = await Promise.all(pods.map(({ attachment }) => stage.runtime.add(attachment)))
      const [firstFailure] = added.filter(({ isSuccess }) => !isSuccess)
      if (firstFailure !== undefined) {
        stage.expect(false, `${added.filter(({ isSuccess }) => !isSuccess).length} of ${count} ADDs failed`)
        stage.expectSuccess(firstFailure)
      }
      const addresses = added.flatMap(({ result }) => (result === undefined ? [] : addressesOf(result)))
      const twice = addresses.filter((address, index) => addresses.indexOf(address) !== index)
      stage.expect(twice.length === 0, `given to more than one container: ${twice.join(', ')}`)
      const deleted = await Promise.all(
        pods.map(({ attachment }, index) => stage.runtime.del(attachment, added[index]?.result)),
      )
      const [firstRefusal] = deleted.filter(({ isSuccess }) => !isSuccess)
      if (firstRefusal !== undefined) stage.expectSuccess(firstRefusal)
      const left = await leftoversSince(before, () => stage.node.state())
      stage.expect(left.length === 0, `left behind: ${left.join(', ')}`)
    },
  })),
  {
    id: 'A10.add-and-del-crossing',
    basis: 'lesson',
    source: `a runtime that gives up sends DEL while its ADD still runs, although ${SPEC.lifecycle} forbids it`,
    expected: 'When ADD and DEL of one container cross, a last DEL leaves nothing.',
    async run(stage) {
      const before = await stage.node.state()
      for (const pod of await podsOf(stage, 8)) {
        await Promise.all([stage.runtime.add(pod.attachment), stage.runtime.del(pod.attachment)])
        stage.expectSuccess(await stage.runtime.del(pod.attachment), 'the last')
      }
      const left = await leftoversSince(before, () => stage.node.state())
      stage.expect(left.length === 0, `left behind: ${left.join(', ')}`)
    },
  },
  {
    id: 'X1.killed-add-then-del',
    basis: 'lesson',
    source: `${SPEC.lifecycle}: "A delete must still be executed even if the add fails"; runtimes kill what takes too long`,
    expected: 'A DEL after an ADD that was killed at any moment succeeds and leaves nothing.',
    run: async stage =>
      await killRounds(stage, async (pod, killAfterMs) => {
        await stage.runtime.call('ADD', stage.runtime.plugin, { attachment: pod.attachment, killAfterMs })
        stage.expectSuccess(await stage.runtime.del(pod.attachment), `ADD was killed after ${killAfterMs} ms`)
      }),
  },
  {
    id: 'X1.killed-add-then-add',
    basis: 'lesson',
    source: 'a runtime that was restarted in the middle asks again, often with the same container',
    expected: 'After an ADD that was killed at any moment and a DEL, ADD of the same container succeeds.',
    run: async stage =>
      await killRounds(stage, async (pod, killAfterMs) => {
        await stage.runtime.call('ADD', stage.runtime.plugin, { attachment: pod.attachment, killAfterMs })
        await stage.runtime.del(pod.attachment)
        const added = await stage.runtime.add(pod.attachment)
        stage.expectSuccess(added, `ADD was killed after ${killAfterMs} ms`)
        await stage.runtime.del(pod.attachment, added.result)
      }),
  },
  {
    id: 'X1.killed-del-then-del',
    basis: 'lesson',
    source: `${SPEC.del}: "should generally complete a DEL action without error even if some resources are missing"; it does not speak of kills`,
    expected: 'A DEL after a DEL that was killed at any moment succeeds and leaves nothing.',
    run: async stage =>
      await killRounds(stage, async (pod, killAfterMs) => {
        const prevResult = await stage.mustAdd(pod)
        await stage.runtime.call('DEL', stage.runtime.plugin, {
          attachment: pod.attachment,
          prevResult,
          killAfterMs,
        })
        stage.expectSuccess(
          await stage.runtime.del(pod.attachment, prevResult),
          `DEL was killed after ${killAfterMs} ms`,
        )
      }),
  },
]

/** Plays `round` with kills spread over the time that one run takes. */
async function killRounds(stage: Stage, round: (pod: Pod, killAfterMs: number) => Promise<void>): Promise<void> {
  const before = await stage.node.state()
  const spanMs = await timeOfAdd(stage)
  for (let index = 0; index < KILL_ROUNDS; index += 1) {
    const pod = await stage.pod()
    const fromMs = Math.floor((index * spanMs) / KILL_ROUNDS)
    await round(pod, Math.max(1, fromMs + randomInt(0, Math.ceil(spanMs / KILL_ROUNDS) + 1)))
    const left = await leftoversSince(before, () => stage.node.state())
    stage.expect(left.length === 0, `left behind in round ${index + 1}: ${left.join(', ')}`)
    // One is enough, and the next would be blamed for it.
    if (left.length > 0) return
  }
}

/** How long an ADD takes here, in milliseconds. */
async function timeOfAdd(stage: Stage): Promise<number> {
  const pod = await stage.pod()
  const startedAtMs = performance.now()
  const added = await stage.runtime.add(pod.attachment)
  const tookMs = performance.now() - startedAtMs
  await stage.runtime.del(pod.attachment, added.result)
  return Math.ceil(tookMs)
}

async function podsOf(stage: Stage, count: number): Promise<readonly Pod[]> {
  const pods: Pod[] = []
  for (let index = 0; index < count; index += 1) pods.push(await stage.pod())
  return pods
}

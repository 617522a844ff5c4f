import { type Check, NotApplicable, SPEC } from '../check.ts'
import { linksOf } from '../kernel.ts'
import { codeOf, describeOutcome } from '../outcome.ts'
import type { ChainOutcome, Runtime } from '../runtime.ts'
import type { AddedPod, Stage } from '../stage.ts'
import { assertSupported } from './version.ts'

const NOT_READY: ReadonlySet<number | undefined> = new Set([50, 51])

/** STATUS (SPEC 1.1.0, section 2). */
export const statusChecks: readonly Check[] = [
  {
    id: 'S0.old-version',
    basis: 'library',
    source: `${SPEC.skel}: STATUS came with 1.1.0`,
    expected: 'STATUS with a configuration of 1.0.0 is refused with code 1.',
    async run(stage) {
      await assertSupported(stage, '1.1.0')
      const outcome = await stage.call('STATUS', { keys: { cniVersion: '1.0.0' } })
      stage.expect(codeOf(outcome) === 1, describeOutcome(outcome))
    },
  },
  {
    id: 'S1.ready',
    basis: 'must',
    source: SPEC.status,
    expected: 'STATUS succeeds when ADD would.',
    needs: ['STATUS'],
    async run(stage) {
      await stage.added()
      stage.expectSuccess(await stage.runtime.status())
    },
  },
  {
    id: 'S1.before-the-first-add',
    basis: 'must',
    source: `${SPEC.status}: "must exit with a zero (success) return code if the plugin is ready to service ADD requests"`,
    expected: 'STATUS of a network that no container was ever attached to says what ADD then does.',
    needs: ['STATUS'],
    async run(stage) {
      const runtime = stage.runtimeWith({ conflist: { ...stage.subject.conflist, name: 'never-used' } })
      const told = await runtime.status()
      const pod = await stage.pod({ runtime })
      expectTold(stage, told, await runtime.add(pod.attachment))
      // What the network keeps for good is no leak of this check.
      await stage.prime({ runtime })
    },
  },
  {
    id: 'S1.reads-only',
    basis: 'our-reading',
    source: `${SPEC.status}: "Status is purely informational"`,
    expected: 'STATUS changes nothing on the node.',
    needs: ['STATUS'],
    async run(stage) {
      const before = await stage.node.state()
      await stage.runtime.status()
      const after = await stage.node.state()
      stage.expect(JSON.stringify(before) === JSON.stringify(after), 'the state of the node is another after STATUS')
    },
  },
  {
    id: 'S2.outage',
    basis: 'should',
    source: `${SPEC.status}: "if a plugin relies on an external service or daemon, it should return an error to STATUS if that service is unavailable"`,
    expected: 'STATUS fails with code 50 or 51 when what ADD depends on is not there.',
    needs: ['STATUS', 'outage'],
    async run(stage) {
      await breakDown(stage)
      expectNotReady(stage, await stage.runtime.status(), 'what ADD depends on is not there')
    },
  },
  {
    id: 'S3.exhausted',
    basis: 'should',
    source: `${SPEC.status}: "if a plugin has a limited number of resources (e.g. IP addresses, hardware queues), it should return an error if those resources are exhausted"`,
    expected: 'STATUS fails with code 50 or 51 when every address is taken.',
    needs: ['STATUS', 'addresses', 'exhaustible'],
    async run(stage) {
      const { runtime, pods } = await exhaust(stage)
      expectNotReady(stage, await runtime.status(), `all ${pods.length} addresses are taken`)
    },
  },
  {
    id: 'S3.free-again',
    basis: 'must',
    source: `${SPEC.status}: "must exit with a zero (success) return code if the plugin is ready to service ADD requests"`,
    expected: 'When an address was given back to a network that had none, STATUS says what ADD then does.',
    needs: ['STATUS', 'addresses', 'exhaustible'],
    async run(stage) {
      const { runtime, pods } = await exhaust(stage)
      await runtime.status()
      const [first] = pods
      if (first !== undefined) stage.expectSuccess(await runtime.del(first.attachment, first.result))
      const told = await runtime.status()
      const pod = await stage.pod({ runtime })
      // An address that has to rest first is as good as none: both may fail, but not one of them.
      expectTold(stage, told, await runtime.add(pod.attachment))
    },
  },
  {
    id: 'S5.del-while-not-ready',
    basis: 'lesson',
    source: `${SPEC.status}: "Plugins should always expect other CNI operations (like ADD, DEL, etc) even if STATUS returns an error"; a pod that cannot go keeps its node from being drained`,
    expected: 'DEL succeeds and takes the interface away while what ADD depends on is not there.',
    needs: ['STATUS', 'outage', 'interface'],
    async run(stage) {
      const pod = await stage.added()
      await breakDown(stage)
      stage.expectSuccess(await stage.runtime.del(pod.attachment, pod.result))
      const names = (await linksOf(pod.netns)).map(({ name }) => name)
      stage.expect(!names.includes(stage.ifName), `interfaces in the pod after DEL: ${names.join(', ')}`)
    },
  },
]

/** Holds that STATUS failed, with one of the codes that say why. */
function expectNotReady(stage: Stage, outcome: ChainOutcome, when: string): void {
  stage.expectFailure(outcome, when)
  const code = codeOf(outcome.decisive)
  stage.expect(
    outcome.isSuccess || NOT_READY.has(code),
    () => `code ${code ?? 'none'}: ${describeOutcome(outcome.decisive)}`,
  )
}

/** Takes away what ADD depends on. The node is of no use afterwards. */
async function breakDown(stage: Stage): Promise<void> {
  const { outage } = stage.subject
  if (outage === undefined) throw new NotApplicable('no outage was given')
  stage.isNodeSpent = true
  await stage.run(stage.node.netns, ['sh', '-c', outage])
}

/** The small network, with every address taken. */
async function exhaust(stage: Stage): Promise<{ readonly runtime: Runtime; readonly pods: readonly AddedPod[] }> {
  const { exhaustible } = stage.subject
  if (exhaustible === undefined) throw new NotApplicable('no small network was given')
  const runtime = stage.runtimeWith({ conflist: exhaustible.conflist })
  await stage.prime({ runtime })
  const pods: AddedPod[] = []
  for (let count = 0; count < exhaustible.addresses; count += 1) pods.push(await stage.added({ runtime }))
  return { runtime, pods }
}

/** Holds that STATUS said what ADD did. */
function expectTold(stage: Stage, told: ChainOutcome, added: ChainOutcome): void {
  stage.expect(
    told.isSuccess === added.isSuccess,
    () => `${describeOutcome(told.decisive)}; then ${describeOutcome(added.decisive)}`,
  )
}

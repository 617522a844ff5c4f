import { type Check, NotApplicable, SPEC } from '../check.ts'
import { leftoversSince } from '../leftovers.ts'
import { codeOf, describeOutcome } from '../outcome.ts'
import type { AddedPod, Stage } from '../stage.ts'
import { assertSupported } from './version.ts'

const STALE = `${SPEC.gc}: "SHOULD remove as many stale resources as possible [...] any IPAM reservations associated with attachments not in the provided list"`

/** GC (SPEC 1.1.0, section 2). */
export const collectChecks: readonly Check[] = [
  {
    id: 'G0.old-version',
    basis: 'library',
    source: `${SPEC.skel}: GC came with 1.1.0`,
    expected: 'GC with a configuration of 1.0.0 is refused with code 1.',
    async run(stage) {
      await assertSupported(stage, '1.1.0')
      const outcome = await stage.call('GC', { keys: { cniVersion: '1.0.0', 'cni.dev/valid-attachments': [] } })
      stage.expect(codeOf(outcome) === 1, describeOutcome(outcome))
    },
  },
  {
    id: 'G1.nothing-stale',
    basis: 'must',
    source: SPEC.gc,
    expected: 'GC succeeds when every attachment is valid, and leaves them as they are.',
    needs: ['GC'],
    async run(stage) {
      const pods = [await stage.added(), await stage.added()]
      stage.expectSuccess(await stage.runtime.gc(pods.map(({ attachment }) => attachment)))
      await expectAlive(stage, pods)
    },
  },
  {
    id: 'G1.valid-kept',
    basis: 'must',
    source: SPEC.gc,
    expected: 'GC leaves a valid attachment as it is while others are stale.',
    needs: ['GC'],
    leftoversAskedBy: 'G1.stale-collected',
    async run(stage) {
      const [valid, stale] = [await stage.added(), await stage.added()]
      await stage.deleteNetns(stale)
      stage.expectSuccess(await stage.runtime.gc([valid.attachment]))
      await expectAlive(stage, [valid])
    },
  },
  {
    id: 'G1.stale-collected',
    basis: 'should',
    source: STALE,
    expected: 'GC frees what an attachment held that is not in the list and whose namespace is gone.',
    needs: ['GC', 'addresses'],
    async run(stage) {
      const valid = await stage.added()
      await expectCollected(stage, async stale => {
        await stage.deleteNetns(stale)
        stage.expectSuccess(await stage.runtime.gc([valid.attachment]))
      })
    },
  },
  {
    id: 'G1.addresses-collected',
    basis: 'should',
    source: STALE,
    expected: 'Addresses of stale attachments can be given out again after GC.',
    needs: ['GC', 'addresses', 'exhaustible'],
    leftoversAskedBy: 'G1.stale-collected',
    async run(stage) {
      const { exhaustible } = stage.subject
      if (exhaustible === undefined) throw new NotApplicable('no small network was given')
      const runtime = stage.runtimeWith({ conflist: exhaustible.conflist })
      await stage.prime({ runtime })
      for (let count = 0; count < exhaustible.addresses; count += 1)
        await stage.deleteNetns(await stage.added({ runtime }))
      const late = await stage.pod({ runtime })
      const full = await runtime.add(late.attachment)
      stage.expect(!full.isSuccess, `ADD succeeded although all ${exhaustible.addresses} addresses are taken`)
      await runtime.del(late.attachment)
      stage.expectSuccess(await runtime.gc([]))
      stage.expectSuccess(await runtime.add(late.attachment), 'after GC')
    },
  },
  {
    id: 'G2.key-of-the-specification',
    basis: 'should',
    source: `${SPEC.gc}: the key is cni.dev/valid-attachments; libcni sends cni.dev/attachments beside it`,
    expected: 'GC needs no other key than cni.dev/valid-attachments.',
    needs: ['GC', 'addresses'],
    async run(stage) {
      await expectCollected(stage, async stale => {
        await stage.deleteNetns(stale)
        stage.expectSuccess(await stage.call('GC', { keys: { 'cni.dev/valid-attachments': [] } }))
      })
    },
  },
  ...([undefined, null] as const).map((list): Check => ({
    id: list === null ? 'G3.list-null' : 'G3.list-missing',
    basis: 'our-reading',
    source: `${SPEC.gc}: the runtime "must provide" the list; without one, nothing is known to be stale`,
    expected: `GC with ${list === null ? 'null for the' : 'no'} list of valid attachments collects nothing.`,
    needs: ['GC'],
    async run(stage) {
      const pod = await stage.added()
      await stage.call('GC', { keys: { 'cni.dev/valid-attachments': list } })
      await expectAlive(stage, [pod])
    },
  })),
  {
    id: 'G7.other-network',
    basis: 'must',
    source: `${SPEC.gc}: "the expected set of attachments to a network"`,
    expected: 'GC of one network leaves the attachments of another network of the same plugin alone.',
    needs: ['GC'],
    async run(stage) {
      const pod = await stage.added()
      await stage.call('GC', { keys: { name: 'another-network', 'cni.dev/valid-attachments': [] } })
      await expectAlive(stage, [pod])
    },
  },
  {
    id: 'G8.del-after-gc',
    basis: 'must',
    source: SPEC.del,
    expected: 'DEL of an attachment that GC has collected succeeds.',
    needs: ['GC'],
    leftoversAskedBy: 'G1.stale-collected',
    async run(stage) {
      const pod = await stage.added()
      await stage.deleteNetns(pod)
      await stage.runtime.gc([])
      stage.expectSuccess(await stage.runtime.del(pod.attachment, pod.result))
    },
  },
]

/** Holds that CHECK finds nothing wrong with the pods. */
async function expectAlive(stage: Stage, pods: readonly AddedPod[]): Promise<void> {
  for (const pod of pods) stage.expectSuccess(await stage.runtime.check(pod.attachment, pod.result), 'after GC')
}

/** Attaches a container that the runtime then forgets, and looks after `collect` whether anything of it is left. */
async function expectCollected(stage: Stage, collect: (stale: AddedPod) => Promise<void>): Promise<void> {
  const before = await stage.node.state()
  const stale = await stage.added()
  await collect(stale)
  const left = await leftoversSince(before, () => stage.node.state())
  stage.expect(left.length === 0, `left behind: ${left.join(', ')}`)
}

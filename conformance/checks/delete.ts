import { type Check, NotApplicable, SPEC } from '../check.ts'
import { linksOf, renderLinks } from '../kernel.ts'
import { leftoversSince } from '../leftovers.ts'
import type { ChainOutcome } from '../runtime.ts'
import type { AddedPod, Stage } from '../stage.ts'

/** What can be missing when DEL comes: success is one question, what is left on the host another. */
const WAYS_TO_BE_MISSING: readonly {
  readonly word: string
  readonly what: string
  readonly takeAway: (stage: Stage, pod: AddedPod) => Promise<unknown>
  readonly isPathEmpty?: boolean
}[] = [
  { word: 'netns-gone', what: 'the namespace is gone', takeAway: async (stage, pod) => await stage.deleteNetns(pod) },
  {
    word: 'netns-empty',
    what: 'the namespace is gone and CNI_NETNS is empty',
    takeAway: async (stage, pod) => await stage.deleteNetns(pod),
    isPathEmpty: true,
  },
  {
    word: 'interface-gone',
    what: 'the interface is gone',
    takeAway: async (stage, pod) => await stage.run(pod.netns, ['ip', 'link', 'delete', stage.ifName]),
  },
]

/** DEL (SPEC 1.1.0, section 2). What is still there afterwards is looked at too: see leavesNothing(). */
export const deleteChecks: readonly Check[] = [
  {
    id: 'D1.deleted',
    basis: 'must',
    source: SPEC.del,
    expected: 'DEL takes away the interface, and all that ADD made on the host.',
    run: async stage =>
      await leavesNothing(stage, async pod => {
        stage.expectSuccess(await stage.runtime.del(pod.attachment, pod.result))
        if (stage.ifName === 'lo') return
        const names = (await linksOf(pod.netns)).map(({ name }) => name)
        stage.expect(!names.includes(stage.ifName), `interfaces in the pod after DEL: ${names.join(', ')}`)
      }),
  },
  {
    id: 'D1.twice',
    basis: 'must',
    source: SPEC.del,
    expected: 'A second DEL of the same attachment succeeds.',
    run: async stage =>
      await leavesNothing(stage, async pod => {
        stage.expectSuccess(await stage.runtime.del(pod.attachment, pod.result))
        stage.expectSuccess(await stage.runtime.del(pod.attachment, pod.result), 'the second time')
      }),
  },
  {
    id: 'D1.never-added',
    basis: 'must',
    source: SPEC.del,
    expected: 'DEL of a container that was never added succeeds.',
    async run(stage) {
      const pod = await stage.pod()
      stage.expectSuccess(await stage.runtime.del(pod.attachment))
    },
  },
  ...WAYS_TO_BE_MISSING.flatMap(missingChecks),
  {
    id: 'D2.netns-lost',
    basis: 'lesson',
    source: 'a runtime that lost the path of a namespace must be able to take the attachment away nevertheless',
    expected: 'DEL with an empty CNI_NETNS succeeds and leaves nothing on the host, although the namespace is alive.',
    needs: ['interface'],
    run: async stage =>
      await leavesNothing(stage, async pod => {
        stage.expectSuccess(await stage.runtime.del({ ...pod.attachment, netnsPath: '' }, pod.result))
      }),
  },
  {
    id: 'D2.netns-stale',
    basis: 'lesson',
    source: 'after a restart the path may be there and be no namespace any more',
    expected: 'DEL succeeds when CNI_NETNS is a file that is no namespace any more.',
    run: async stage =>
      await leavesNothing(stage, async pod => {
        await stage.deleteNetns(pod)
        const path = `${pod.attachment.netnsPath}-stale`
        await stage.run(stage.node.netns, ['touch', path])
        stage.atEnd(async () => await stage.run(stage.node.netns, ['rm', path]))
        stage.expectSuccess(await stage.runtime.del({ ...pod.attachment, netnsPath: path }, pod.result))
      }),
  },
  {
    id: 'D2.no-prev-result',
    basis: 'our-reading',
    source: `${SPEC.lifecycle}: a delete follows also an add that failed, of which no result was kept`,
    expected: 'DEL without prevResult succeeds and leaves nothing.',
    run: async stage =>
      await leavesNothing(stage, async pod => {
        stage.expectSuccess(await stage.runtime.del(pod.attachment))
      }),
  },
  {
    id: 'D2.after-failed-add',
    basis: 'must',
    source: SPEC.lifecycle,
    expected: 'DEL after an ADD that failed succeeds and leaves nothing.',
    async run(stage) {
      const pod = await stage.pod()
      const attachment = { ...pod.attachment, netnsPath: '/run/netns/no-such-namespace' }
      await stage.runtime.add(attachment)
      stage.expectSuccess(await stage.runtime.del(attachment))
    },
  },
  {
    id: 'D8.others-untouched',
    basis: 'must',
    source: `${SPEC.del}: it deletes the interface of one (CNI_CONTAINERID, CNI_IFNAME)`,
    expected: 'DEL of one container leaves another one as it was.',
    needs: ['interface', 'addresses'],
    async run(stage) {
      const other = await stage.added()
      const before = renderLinks(await linksOf(other.netns))
      const pod = await stage.added()
      await stage.runtime.del(pod.attachment, pod.result)
      const after = renderLinks(await linksOf(other.netns))
      stage.expect(before === after, `was ${before}, is ${after}`)
      if (stage.runtime.hasVerb('CHECK'))
        stage.expectSuccess(await stage.runtime.check(other.attachment, other.result), 'of the other container')
    },
  },
  {
    id: 'D8.address-kept',
    basis: 'lesson',
    source: 'a DEL that comes late must not free what a later attachment has',
    expected: 'A DEL repeated after another container was added does not touch that one.',
    needs: ['interface', 'addresses'],
    async run(stage) {
      const pod = await stage.added()
      await stage.runtime.del(pod.attachment, pod.result)
      const other = await stage.added()
      stage.expectSuccess(await stage.runtime.del(pod.attachment, pod.result), 'the second time')
      if (stage.runtime.hasVerb('CHECK'))
        stage.expectSuccess(await stage.runtime.check(other.attachment, other.result), 'of the other container')
      const names = (await linksOf(other.netns)).map(({ name }) => name)
      stage.expect(names.includes(stage.ifName), `interfaces in the other pod: ${names.join(', ')}`)
    },
  },
  {
    id: 'D9.add-again',
    basis: 'must',
    source: `${SPEC.add}: an ADD may follow a DEL of the same attachment`,
    expected: 'After DEL, ADD of the same attachment succeeds.',
    async run(stage) {
      const pod = await stage.added()
      await stage.runtime.del(pod.attachment, pod.result)
      await stage.mustAdd(pod)
    },
  },
  {
    id: 'D9.addresses-given-back',
    basis: 'must',
    source: `${SPEC.del}: it undoes what ADD did`,
    expected: 'A network can give and take back more addresses than it has.',
    needs: ['addresses', 'exhaustible'],
    async run(stage) {
      const { exhaustible } = stage.subject
      if (exhaustible === undefined) throw new NotApplicable('no small network was given')
      const runtime = stage.runtimeWith({ conflist: exhaustible.conflist })
      await stage.prime({ runtime })
      for (let round = 0; round <= exhaustible.addresses; round += 1) {
        const pod = await stage.pod({ runtime })
        const added = await runtime.add(pod.attachment)
        stage.expectSuccess(added, `round ${round + 1} with ${exhaustible.addresses} addresses`)
        if (!added.isSuccess) return
        await runtime.del(pod.attachment, added.result)
      }
    },
  },
]

function missingChecks(way: (typeof WAYS_TO_BE_MISSING)[number]): readonly Check[] {
  async function del(stage: Stage, pod: AddedPod): Promise<ChainOutcome> {
    await way.takeAway(stage, pod)
    const netnsPath = way.isPathEmpty === true ? '' : pod.attachment.netnsPath
    return await stage.runtime.del({ ...pod.attachment, netnsPath }, pod.result)
  }
  const needs = way.word === 'interface-gone' ? { needs: ['interface'] as const } : {}
  return [
    {
      id: `D2.${way.word}`,
      basis: 'must',
      source: `${SPEC.del}: "return success if the interface in question, or any modifications added, are missing"`,
      expected: `DEL succeeds when ${way.what}.`,
      ...needs,
      leftoversAskedBy: `D4.${way.word}`,
      run: async stage => stage.expectSuccess(await del(stage, await stage.added())),
    },
    {
      id: `D4.${way.word}`,
      basis: 'should',
      source: `${SPEC.del}: "should delegate the DEL action to the IPAM plugin and clean up its own resources even if the container network namespace and/or container network interface no longer exist"`,
      expected: `DEL leaves nothing on the host when ${way.what}.`,
      ...needs,
      run: async stage => await leavesNothing(stage, async pod => void (await del(stage, pod))),
    },
  ]
}

/** Attaches a container, deletes it in the way of `del`, and looks at once whether anything of it is left on the node. */
async function leavesNothing(stage: Stage, del: (pod: AddedPod) => Promise<void>): Promise<void> {
  const before = await stage.node.state()
  const pod = await stage.added()
  await del(pod)
  const left = await leftoversSince(before, () => stage.node.state())
  stage.expect(left.length === 0, `left behind: ${left.join(', ')}`)
}

import fc from 'fast-check'
import t from 'tap'
import type { Via } from '../store/lease-origin.ts'
import { GRACE_MS, Node, attachmentOf } from './fake-node.ts'

type Step =
  | { readonly do: 'add'; readonly id: string; readonly via: Via; readonly isKilled: boolean }
  | { readonly do: 'del' | 'lose'; readonly id: string }
  | { readonly do: 'turn' | 'restart' | 'reboot' | 'renew-netns' }

const id = fc.constantFrom('a', 'b', 'c', 'd')
const steps = fc.array(
  fc.tuple(
    fc.nat(GRACE_MS),
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant('add' as const),
          id,
          via: fc.constantFrom<Via>('tulle', 'tulle-ipam'),
          isKilled: fc.boolean(),
        }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('del' as const, 'lose' as const), id }) },
      {
        weight: 5,
        arbitrary: fc.record({
          do: fc.constantFrom(
            'turn' as const,
            'turn' as const,
            'restart' as const,
            'reboot' as const,
            'renew-netns' as const,
          ),
        }),
      },
    ),
  ),
  { maxLength: 40 },
)

/** Applies a step to the node, and to the set of pods that live. */
async function perform(node: Node, alive: Map<string, Via>, step: Step): Promise<void> {
  switch (step.do) {
    case 'add':
      if (alive.has(step.id)) return
      node.removeLink(step.id)
      await node.lease(step.id, step.via)
      if (step.isKilled) return
      if (step.via === 'tulle') node.addLink(step.id)
      return void alive.set(step.id, step.via)
    case 'del':
      node.removeLink(step.id)
      alive.delete(step.id)
      return void (await node.service.release({ attachment: attachmentOf(step.id) }, 'del'))
    case 'lose':
      // The pod and its interface go, and nobody calls DEL.
      if (alive.get(step.id) === 'tulle') node.removeLink(step.id)
      return void alive.delete(step.id)
    case 'restart':
      return node.restart()
    case 'reboot':
      alive.clear()
      return node.restart({ bootId: `${node.boot.bootId}+`, hostNetnsInode: node.boot.hostNetnsInode + 1 })
    case 'renew-netns':
      alive.clear()
      return node.restart({ hostNetnsInode: node.boot.hostNetnsInode + 1 })
    case 'turn':
      return void (await node.reconciler.run({ dryRun: false }))
  }
}

t.test(
  'run() never frees the lease of a living pod, and frees in the end what it can know to be dead (R1, R2, R6)',
  async () => {
    await fc.assert(
      fc.asyncProperty(steps, async list => {
        using node = new Node()
        const alive = new Map<string, Via>()
        for (const [afterMs, step] of list) {
          node.nowMs += afterMs
          await perform(node, alive, step)
          const holders = await node.holders()
          for (const each of alive.keys())
            if (!holders.includes(each)) throw new Error(`${each} lives and lost its lease`)
        }
        await node.twoTurns()
        node.restart({ bootId: 'last', hostNetnsInode: 999 })
        await node.twoTurns()
        const left = await node.holders()
        if (left.length > 0) throw new Error(`after a reboot ${left.join()} still hold leases`)
      }),
      { numRuns: 60 },
    )
  },
)

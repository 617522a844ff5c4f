import t from 'tap'
import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import { GRACE_MS, type Node, attachmentOf, idsOf, nodeOf } from './fake-node.ts'

t.test(
  'run() frees a lease of tulle without an interface after the grace, not before, and records why (R2, R6)',
  async t => {
    const node = nodeOf(t)
    await node.lease('gone', 'tulle')
    await node.lease('other', 'tulle-ipam')
    await node.lease('alive', 'tulle')
    node.addLink('alive')
    const first = await node.reconciler.run({ dryRun: false })
    t.same([idsOf(first.freed), idsOf(first.watched)], [[], ['gone']])
    node.nowMs += GRACE_MS - 1
    t.same((await node.reconciler.run({ dryRun: false })).freed, [])
    node.nowMs += 1
    const last = await node.reconciler.run({ dryRun: false })
    t.same(idsOf(last.freed), ['gone'])
    t.same(await node.holders(), ['alive', 'other'])
    t.match(node.reasons, [/^reconcile no-interface: no interface for 1 s; leased in boot b1, network namespace 1$/])
  },
)

t.test('run() frees every lease of an older boot that no interface carries (R1)', async t => {
  const node = nodeOf(t)
  for (const [id, via] of [
    ['a', 'tulle'],
    ['b', 'tulle-ipam'],
    ['c', undefined],
  ] as const)
    await node.lease(id, via)
  node.restart({ bootId: 'b2', hostNetnsInode: 2 })
  await node.lease('new', 'tulle')
  node.addLink('new')
  t.same(idsOf((await node.twoTurns()).freed), ['a', 'b', 'c'])
  t.same(await node.holders(), ['new'])
})

t.test(
  'run() frees the leases of a node namespace that is gone, and none while something lives in it (R1, R6)',
  async t => {
    const node = nodeOf(t)
    await node.lease('a', 'tulle')
    node.liveInodes.add(1)
    node.restart({ hostNetnsInode: 2 })
    t.same((await node.twoTurns()).freed, [])
    node.liveInodes.clear()
    t.same(
      (await node.twoTurns()).freed.map(({ reason }) => reason),
      ['netns-gone'],
    )
  },
)

t.test('allocate() makes a lease of an older boot one of this boot (R6)', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle-ipam')
  node.restart({ bootId: 'b2' })
  await node.reconciler.run({ dryRun: false })
  await node.lease('a', 'tulle-ipam')
  node.nowMs += GRACE_MS
  t.same((await node.reconciler.run({ dryRun: false })).watched, [])
  // Durable, too.
  node.restart()
  t.same((await node.twoTurns()).freed, [])
})

t.test(
  'allocate() keeps what another plugin asks for again from being freed for want of an interface (R6)',
  async t => {
    const node = nodeOf(t)
    await node.lease('a', 'tulle')
    await node.lease('a', 'tulle-ipam')
    t.same((await node.twoTurns()).freed, [])
  },
)

t.test(
  'run() frees nothing of a plugin in another network namespace, whose interfaces are out of sight (R6)',
  async t => {
    const node = nodeOf(t)
    await node.service.allocate({ attachment: attachmentOf('a'), via: 'tulle', hostNetnsInode: 77 })
    t.same((await node.twoTurns()).freed, [])
  },
)

const revalidations: readonly { readonly name: string; readonly change: (node: Node) => Promise<unknown> }[] = [
  { name: 'an ADD made the interface', change: async node => node.addLink('a') },
  { name: 'an ADD asked for the lease again', change: node => node.lease('a', 'tulle-ipam') },
  { name: 'an ADD of the same plugin asked for the lease again', change: node => node.lease('a', 'tulle') },
  {
    name: 'DEL and ADD made another lease of it',
    change: async node => {
      await node.service.release({ attachment: attachmentOf('a') }, 'del')
      await node.lease('a', 'tulle')
    },
  },
]
for (const { name, change } of revalidations) {
  t.test(`run() keeps a lease when, before the last look, ${name} (R6)`, async t => {
    const node = nodeOf(t)
    await node.lease('a', 'tulle')
    node.beforeLastLook = async () => {
      node.beforeLastLook = async () => {}
      await change(node)
    }
    t.same((await node.twoTurns()).freed, [])
    t.same(await node.holders(), ['a'])
  })
}

t.test('run() keeps every lease when the container of the daemon gets another network namespace (R6)', async t => {
  const node = nodeOf(t)
  for (const via of ['tulle', 'tulle-ipam'] as const) {
    await node.service.allocate({ attachment: attachmentOf(via), via, hostNetnsInode: 77 })
  }
  node.restart({ hostNetnsInode: 2 })
  t.match(await node.twoTurns(), { freed: [], watched: [] })
  t.same((await node.holders()).length, 2)
})

t.test('run() keeps a lease while somebody holds the lock of its attachment, and says nothing (R6)', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle')
  node.locked.add(attachmentKeyText(attachmentOf('a')))
  const held = await node.twoTurns()
  t.same([idsOf(held.freed), idsOf(held.watched)], [[], ['a']])
  t.same(node.log, [])
  node.locked.clear()
  t.same(idsOf((await node.reconciler.run({ dryRun: false })).freed), ['a'])
})

import t from 'tap'
import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import { formatAddress } from '../../lib/net/address.ts'
import { hostPrefix } from '../../lib/net/prefix.ts'
import { hostIfNameOf } from '../../lib/plan/link-names.ts'
import { ROUTE_PROTOCOL } from '../../lib/plan/marks.ts'
import { formatOwner } from '../../lib/plan/owner.ts'
import { GRACE_MS, BLOCK, attachmentOf, idsOf, nodeOf } from './fake-node.ts'

t.test('run() changes nothing in a dry run, which is no observation either', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle')
  await node.reconciler.run({ dryRun: true })
  node.nowMs += GRACE_MS
  t.same((await node.reconciler.run({ dryRun: true })).freed, [])
  await node.twoTurns()
  t.same(await node.holders(), [])
  await node.lease('b', 'tulle')
  node.addLink('c', null)
  await node.reconciler.run({ dryRun: false })
  node.nowMs += GRACE_MS
  node.netns.routes = []
  const dry = await node.reconciler.run({ dryRun: true })
  t.same([idsOf(dry.freed), dry.removedLinks.length, dry.repairedBlocks], [['b'], 1, ['10.0.0.0/24']])
  t.same(await node.holders(), ['b'])
  t.ok(node.netns.link(hostIfNameOf(attachmentOf('c'))))
  t.same(node.netns.routes, [])
})

t.test('run() removes what a killed ADD left, when nobody works on it, and no finished interface (R2)', async t => {
  const node = nodeOf(t)
  for (const id of ['adding', 'locked'])
    node.addLink(id, formatOwner({ attachment: attachmentOf(id), isComplete: false }))
  for (const id of ['bare', 'busy']) node.addLink(id, null)
  node.addLink('orphan')
  node.addLink('edited', 'somebody wrote this')
  node.locked.add(attachmentKeyText(attachmentOf('locked')))
  node.busyNames.add(hostIfNameOf(attachmentOf('busy')))
  await node.reconciler.run({ dryRun: false })
  t.equal(node.netns.links.length, 7, 'nothing at the first look')
  node.nowMs += GRACE_MS
  const { removedLinks } = await node.reconciler.run({ dryRun: false })
  t.same(
    removedLinks,
    ['adding', 'bare'].map(id => hostIfNameOf(attachmentOf(id))),
  )
  t.equal(node.netns.links.length, 5)
})

t.test('run() adds the route of a block that somebody flushed (R18, R29)', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle-ipam')
  const before = await node.reconciler.check()
  t.same(
    before.findings.map(({ kind }) => kind),
    ['block-without-route'],
  )
  t.same((await node.reconciler.run({ dryRun: false })).repairedBlocks, ['10.0.0.0/24'])
  t.same((await node.reconciler.run({ dryRun: false })).repairedBlocks, [])
  t.same((await node.reconciler.check()).findings, [])
})

t.test('run() changes nothing when the kernel cannot be asked, and goes on at the next turn', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle')
  await node.reconciler.run({ dryRun: false })
  node.nowMs += GRACE_MS
  const { netns } = node
  node.netns = new Proxy(netns, {
    get(target, key): unknown {
      if (key === 'links') throw new Error('no answer')
      return Reflect.get(target, key) as unknown
    },
  })
  await t.rejects(node.reconciler.run({ dryRun: false }), /no answer/)
  t.same(await node.holders(), ['a'])
  node.netns = netns
  t.same(idsOf((await node.reconciler.run({ dryRun: false })).freed), ['a'])
})

t.test('check() reports leases without interfaces and interfaces without leases, seen twice', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle')
  node.addLink('b')
  const link = node.netns.link(hostIfNameOf(attachmentOf('b')))
  const [held] = (await node.service.find({}))[0]?.addresses ?? []
  if (link === undefined || held === undefined) throw new Error('no link or lease')
  link.isUp = true
  node.netns.addRoute({ to: hostPrefix(held.address), protocol: ROUTE_PROTOCOL, link })
  node.netns.addRoute({ to: BLOCK, protocol: ROUTE_PROTOCOL })
  const { findings } = await node.reconciler.check()
  t.same(
    findings.map(({ kind }) => kind),
    ['lease-without-link', 'link-without-lease', 'route-differs'],
  )
  t.match(findings[2]?.detail, new RegExp(formatAddress(held.address)))
  t.same(await node.holders(), ['a'], 'nothing was changed')
})

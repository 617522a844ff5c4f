import './harness/isolated.ts'
import t from 'tap'
import { connectOutsider, OUTSIDER_IPV4, OUTSIDER_IPV6, UPLINK_IPV4, UPLINK_IPV6 } from './harness/outsider.ts'
import { askTcp, serveTcp } from './harness/reach.ts'
import { TulleNode } from './harness/tulle-node.ts'

// Which connections of pods get an address of the node, and that other pods never see one (checklist R20).

t.test('with ipMasq the outside sees the node, other pods see the pod, and the last DEL ends it', async t => {
  await using node = await TulleNode.start({ plugin: { ipMasq: true, nonMasqueradeCIDRs: ['203.0.113.0/24'] } })
  await using outsider = await connectOutsider(node.netns, ['10.244.0.0/16'])
  await outsider.run(['ip', 'address', 'add', '203.0.113.9/32', 'dev', 'lo'])
  await node.netns.run(['ip', 'route', 'add', '203.0.113.0/24', 'via', OUTSIDER_IPV4])
  await using one = await node.attach()
  await using two = await node.attach()
  const masqueraded = async () => await node.netns.run(['nft', 'list', 'map', 'inet', 'tulle', 'masquerade-4'])
  for (const [address, want] of [
    [OUTSIDER_IPV4, UPLINK_IPV4],
    [OUTSIDER_IPV6, UPLINK_IPV6],
    ['203.0.113.9', one.ipv4],
  ] as const) {
    await using server = await serveTcp(outsider, { address, port: 80 }, 'out')
    t.equal(await askTcp(one.netns, { address, port: 80 }), `out to ${want}`, `to ${address}`)
    await server.stop()
  }
  await using server = await serveTcp(two.netns, { address: two.ipv4, port: 80 }, 'two')
  t.equal(await askTcp(one.netns, { address: two.ipv4, port: 80 }), `two to ${one.ipv4}`, 'to another pod')
  await server.stop()
  await node.detach(one)
  t.notMatch(await masqueraded(), ` ${one.ipv4} `)
  t.match(await masqueraded(), two.ipv4, 'the first DEL takes its own element alone')
  await node.detach(two)
  t.notMatch(await masqueraded(), 'jump')
})

import './harness/isolated.ts'
import t from 'tap'
import { Netns } from './harness/namespace.ts'
import { connectOutsider, OUTSIDER_IPV4, OUTSIDER_IPV6, UPLINK_IPV4, UPLINK_IPV6 } from './harness/outsider.ts'
import { askTcp, serveTcp } from './harness/reach.ts'
import { type CniRuntime, newAttachment } from './harness/runtime.ts'
import { addressesOf, networkOf, TulleNode } from './harness/tulle-node.ts'

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

t.test('two networks of one node masquerade each by its own rules, and one ends without the other', async t => {
  await using node = await TulleNode.start({ plugin: { ipMasq: true } })
  const sparing = networkOf('sparing', { ipMasq: true, nonMasqueradeCIDRs: ['203.0.113.0/24', '2001:db8:9::/64'] })
  await using outsider = await connectOutsider(node.netns, ['10.244.0.0/16', 'fd00:10:244::/56'])
  for (const address of ['203.0.113.9/32', '2001:db8:9::9/128'])
    await outsider.run(['ip', 'address', 'add', address, 'dev', 'lo'])
  await node.netns.run(['ip', 'route', 'add', '203.0.113.0/24', 'via', OUTSIDER_IPV4])
  await node.netns.run(['ip', '-6', 'route', 'add', '2001:db8:9::/64', 'via', OUTSIDER_IPV6])
  await using one = await node.attach()
  await using two = await attachTo(sparing)
  const seenBy = async (from: Netns, address: string): Promise<string> => {
    await using server = await serveTcp(outsider, { address, port: 80 }, 'out')
    const answer = await askTcp(from, { address, port: 80 })
    await server.stop()
    return answer
  }
  for (const [address, uplink, own] of [
    ['203.0.113.9', UPLINK_IPV4, two.ipv4],
    ['2001:db8:9::9', UPLINK_IPV6, two.ipv6],
  ] as const) {
    t.equal(await seenBy(one.netns, address), `out to ${uplink}`, 'a pod of the network that spares nobody')
    t.equal(await seenBy(two.netns, address), `out to ${own}`, 'one of the network that spares this destination')
  }
  t.equal(await seenBy(two.netns, OUTSIDER_IPV4), `out to ${UPLINK_IPV4}`, 'and masquerades others')
  await using server = await serveTcp(two.netns, { address: two.ipv4, port: 80 }, 'two')
  t.equal(await askTcp(one.netns, { address: two.ipv4, port: 80 }), `two to ${one.ipv4}`, 'not to each other')
  await server.stop()
  await node.detach(one)
  t.equal(await seenBy(two.netns, OUTSIDER_IPV4), `out to ${UPLINK_IPV4}`, 'after the last pod of the other network')
  t.equal((await sparing.del(two.attachment)).exitCode, 0)
  t.notMatch(await node.netns.run(['nft', 'list', 'map', 'inet', 'tulle', 'masquerade-4']), 'jump')
})

/** Attaches a pod to a network that is not the node's own. */
async function attachTo(network: CniRuntime) {
  const netns = await Netns.create('pod')
  const attachment = newAttachment(netns)
  const added = await network.add(attachment)
  if (added.exitCode !== 0) throw new Error(`ADD: ${added.stdout}`)
  const addresses = addressesOf(added.json)
  return {
    netns,
    attachment,
    ipv4: addresses.find(address => address.includes('.')) ?? '',
    ipv6: addresses.find(address => address.includes(':')) ?? '',
    [Symbol.asyncDispose]: () => netns.delete(),
  }
}

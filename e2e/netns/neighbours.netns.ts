import './harness/isolated.ts'
import t from 'tap'
import { Capture } from './harness/capture.ts'
import { connect } from './harness/connect.ts'
import { asObjects } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { askTcp, ping, serveTcp } from './harness/reach.ts'
import { HOST_IPV4, HOST_IPV6, TulleNode, leavesNothing } from './harness/tulle-node.ts'

// Nobody asks who has an address: every neighbour is known beforehand, and no address waits for duplicate address detection
// (design section 3; checklist R15, R26).

const node = await TulleNode.start()
t.teardown(() => node[Symbol.asyncDispose]())

/** ARP, NS, NA, RS and redirect, in tcpdump's words. MLD reports may be there. */
const NEIGHBOUR_TALK = /\bARP\b|neighbor (solicitation|advertisement)|router (solicitation|advertisement)|redirect/

t.test('ADD returns when no address is tentative, in the pod and on the node', async t => {
  await leavesNothing(t, node, async () => {
    await using control = await Netns.create('control')
    await control.run(['ip', 'link', 'add', 'left', 'type', 'veth', 'peer', 'name', 'right'])
    for (const link of ['left', 'right']) await control.run(['ip', 'link', 'set', link, 'up'])
    await control.run(['ip', 'address', 'add', '2001:db8:1::1/64', 'dev', 'left'])
    t.ok((await tentative(control)).length > 0, 'such an address would be seen')

    await using pod = await node.attach()
    t.same(await tentative(pod.netns), [])
    t.same(await tentative(node.netns), [])
    t.type(await ping(pod.netns, HOST_IPV6), 'number', 'the first packet gets through')
    await node.detach(pod)
  })
})

t.test('ADD sends no ARP, NS, NA or RS', async t => {
  await leavesNothing(t, node, async () => {
    await using podNetns = await Netns.create('pod')
    await using inPod = await Capture.start(podNetns)
    await using onNode = await Capture.start(node.netns)
    const pod = await node.attach(podNetns)
    // Whatever ADD sent came before these.
    await ping(pod.netns, HOST_IPV4)
    await ping(pod.netns, HOST_IPV6)
    for (const capture of [inPod, onNode]) await assertQuiet(t, capture, [pod.ipv4, pod.ipv6])
    await node.detach(pod)
  })
})

t.test(
  'traffic to global addresses sends no ARP, NS, NA or RS, after the pods have dropped their dynamic neighbours',
  async t => {
    await leavesNothing(t, node, async () => {
      await using outsider = await Netns.create('outsider')
      await connect(
        { netns: node.netns, ifName: 'up0', addresses: ['198.51.100.1/24', '2001:db8:1::1/64'] },
        { netns: outsider, ifName: 'eth0', addresses: ['198.51.100.2/24', '2001:db8:1::2/64'] },
      )
      await outsider.run(['ip', 'route', 'add', '10.244.0.0/16', 'via', '198.51.100.1'])
      await outsider.run(['ip', 'route', 'add', 'fd00:10:244::/56', 'via', '2001:db8:1::1'])
      await using one = await node.attach()
      await using two = await node.attach()
      for (const netns of [one.netns, two.netns]) {
        await netns.run(['ip', '-4', 'neighbour', 'flush', 'all'])
        await netns.run(['ip', '-6', 'neighbour', 'flush', 'all'])
      }
      await using inPod = await Capture.start(one.netns)
      await using atOne = await Capture.start(node.netns, { ifName: one.hostIfName })
      await using atTwo = await Capture.start(node.netns, { ifName: two.hostIfName })
      // On the uplink the node has to ask, so that this one shows that the captures see who asks.
      await using uplink = await Capture.start(node.netns, { ifName: 'up0' })

      const ways: readonly (readonly [Netns, string])[] = [
        [one.netns, two.ipv4],
        [one.netns, two.ipv6],
        [one.netns, HOST_IPV4],
        [one.netns, HOST_IPV6],
        [node.netns, one.ipv4],
        [node.netns, one.ipv6],
        [one.netns, '198.51.100.2'],
        [one.netns, '2001:db8:1::2'],
        [two.netns, one.ipv4],
        [two.netns, one.ipv6],
      ]
      for (const [from, to] of ways) t.type(await ping(from, to, 3), 'number', `${from.name} reaches ${to}`)
      for (const address of [two.ipv4, two.ipv6]) {
        await using server = await serveTcp(two.netns, { address, port: 80 }, 'hello')
        t.match(await askTcp(one.netns, { address, port: 80 }), /^hello to /)
        await server.stop()
      }
      for (const capture of [inPod, atOne, atTwo]) await assertQuiet(t, capture, [one.ipv4, one.ipv6])
      await uplink.stop()
      t.match(uplink.text, /\bARP\b/)
      t.match(uplink.text, /neighbor solicitation/)
      await node.detach(one)
      await node.detach(two)
      await node.netns.run(['ip', 'link', 'delete', 'up0'])
    })
  },
)

t.test('after the node has dropped its neighbours, it asks a pod once, and the first packet gets through', async t => {
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    for (const family of ['-4', '-6']) await node.netns.run(['ip', family, 'neighbour', 'flush', 'dev', pod.hostIfName])
    await using seen = await Capture.start(node.netns, { ifName: pod.hostIfName })
    for (const address of [pod.ipv4, pod.ipv6, pod.ipv4, pod.ipv6])
      t.type(await ping(node.netns, address), 'number', address)
    for (const address of [HOST_IPV4, HOST_IPV6]) t.type(await ping(pod.netns, address), 'number', address)
    for (const address of [pod.ipv4, pod.ipv6]) await seen.until(new RegExp(`> ${address}: ICMP6?,? echo reply`))
    await seen.stop()
    t.equal(seen.matches(/Request who-has/).length, 1)
    t.equal(seen.matches(/neighbor solicitation/).length, 1)
    await node.detach(pod)
  })
})

type Test = Pick<typeof t, 'same'>

/** Ends `capture` when it has seen an echo reply to each of `pingers`, and asserts that nobody asked for anybody. */
async function assertQuiet(t: Test, capture: Capture, pingers: readonly string[]): Promise<void> {
  for (const address of pingers) await capture.until(new RegExp(`> ${address}: ICMP6?,? echo reply`))
  await capture.stop()
  t.same(capture.matches(NEIGHBOUR_TALK), [])
}

async function tentative(netns: Netns): Promise<readonly string[]> {
  const links = asObjects(JSON.parse(await netns.run(['ip', '-json', '-6', 'address', 'show'])), 'ip address')
  return links
    .flatMap(link => asObjects(link['addr_info'] ?? [], 'addr_info'))
    .filter(address => address['tentative'] === true)
    .map(address => String(address['local']))
}

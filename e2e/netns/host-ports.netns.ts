import './harness/isolated.ts'
import t, { type Test } from 'tap'
import type { Netns } from './harness/namespace.ts'
import { connectOutsider, OUTSIDER_IPV4, OUTSIDER_IPV6, UPLINK_IPV4, UPLINK_IPV6 } from './harness/outsider.ts'
import { attachWithPorts, startNodeWithPorts, WEB } from './harness/ports.ts'
import { askTcp, askUdp, serveTcp, serveUdp } from './harness/reach.ts'
import { HOST_IPV4, HOST_IPV6, leavesNothing } from './harness/tulle-node.ts'

// Ports of the node that lead to pods: from where, under which address, and which flows the kernel forgets (checklist R19, R21).

/** Addresses of the node: what a pod may see where its own or the loopback's would not do. */
const OF_NODE = [HOST_IPV4, HOST_IPV6, UPLINK_IPV4, UPLINK_IPV6]

/** The address that a server in a pod has seen, by what it answered. */
function seen(answer: string): string {
  return answer.replace(/^\S+ to (::ffff:)?/, '')
}

async function assertFromNode(t: Test, answer: string, what: string): Promise<void> {
  t.ok(OF_NODE.includes(seen(answer)), `${what}: under an address of the node, ${answer}`)
}

t.test('a TCP port of the node leads to the pod from everywhere, under the right address (R21)', async t => {
  await using node = await startNodeWithPorts()
  await using outsider = await connectOutsider(node.netns, [])
  await leavesNothing(t, node, async () => {
    await using pod = await attachWithPorts(node, WEB)
    await using other = await node.attach()
    for (const side of [
      {
        own: pod.ipv4,
        host: HOST_IPV4,
        uplink: UPLINK_IPV4,
        other: other.ipv4,
        outsider: OUTSIDER_IPV4,
        loopback: '127.0.0.1',
      },
      {
        own: pod.ipv6,
        host: HOST_IPV6,
        uplink: UPLINK_IPV6,
        other: other.ipv6,
        outsider: OUTSIDER_IPV6,
        loopback: '::1',
      },
    ]) {
      await using server = await serveTcp(pod.netns, { address: side.own, port: 80 }, 'web')
      const ask = (from: Netns, address: string) => askTcp(from, { address, port: 8080 })
      t.equal(seen(await ask(outsider, side.uplink)), side.outsider, 'from outside')
      t.equal(seen(await ask(other.netns, side.host)), side.other, 'from another pod')
      t.equal(seen(await ask(other.netns, side.uplink)), side.other, 'from another pod, by another address')
      await assertFromNode(t, await ask(pod.netns, side.uplink), 'from the pod itself')
      t.equal(seen(await ask(node.netns, side.host)), side.host, 'from the host, by its own address')
      if (side.loopback === '::1') t.match(await ask(node.netns, '::1'), /^refused: ECONNREFUSED/, 'not from ::1')
      else await assertFromNode(t, await ask(node.netns, '127.0.0.1'), 'from the host by 127.0.0.1')
      t.match(await askTcp(outsider, { address: side.uplink, port: 80 }), /^refused: ECONNREFUSED/, 'that port alone')
      await server.stop()
    }
    t.equal((await node.runtime.check(pod.attachment)).stdout, '')
    await node.detach(pod)
    await node.detach(other)
    t.match(await askTcp(outsider, { address: UPLINK_IPV4, port: 8080 }), /^refused: ECONNREFUSED/, 'after DEL')
  })
  await node.netns.run(['ip', 'link', 'delete', 'up0'])
})

t.test('without snat every source stays what it is, and what cannot be answered then does not work', async t => {
  await using node = await startNodeWithPorts({ plugin: { snat: false } })
  await using outsider = await connectOutsider(node.netns, [])
  await leavesNothing(t, node, async () => {
    await using pod = await attachWithPorts(node, WEB)
    await using server = await serveTcp(pod.netns, { address: pod.ipv4, port: 80 }, 'web')
    t.equal(seen(await askTcp(outsider, { address: UPLINK_IPV4, port: 8080 })), OUTSIDER_IPV4)
    t.match(await askTcp(node.netns, { address: '127.0.0.1', port: 8080 }), /^refused: /)
    const localnet = await node.netns.run(['sysctl', '-n', `net/ipv4/conf/${pod.hostIfName}/route_localnet`])
    t.equal(localnet.trim(), '0')
    await server.stop()
    await node.detach(pod)
  })
  await node.netns.run(['ip', 'link', 'delete', 'up0'])
})

t.test(
  'hostIP: a port at one address of the node leads from there alone, and another pod can have it at another',
  async t => {
    await using node = await startNodeWithPorts()
    await using outsider = await connectOutsider(node.netns, [])
    await leavesNothing(t, node, async () => {
      await using one = await attachWithPorts(node, { ...WEB, hostIP: HOST_IPV4 }, { ...WEB, hostIP: HOST_IPV6 })
      await using two = await attachWithPorts(
        node,
        { ...WEB, hostIP: UPLINK_IPV4 },
        { ...WEB, hostPort: 8081, hostIP: '127.0.0.1' },
      )
      await using first = await serveTcp(one.netns, { address: '::', port: 80 }, 'one')
      await using second = await serveTcp(two.netns, { address: '0.0.0.0', port: 80 }, 'two')
      for (const [address, want] of [
        [HOST_IPV4, 'one'],
        [HOST_IPV6, 'one'],
        [UPLINK_IPV4, 'two'],
        [UPLINK_IPV6, 'refused:'],
        ['127.0.0.1', 'refused:'],
      ] as const) {
        t.match(await askTcp(node.netns, { address, port: 8080 }), want, address)
      }
      t.match(await askTcp(outsider, { address: UPLINK_IPV4, port: 8080 }), 'two')
      t.match(await askTcp(node.netns, { address: '127.0.0.1', port: 8081 }), 'two', 'a port of the loopback')
      await refuseLoopbackFromOutside(t, outsider)
      await first.stop()
      await second.stop()
      await node.detach(one)
      await node.detach(two)
    })
    await node.netns.run(['ip', 'link', 'delete', 'up0'])
  },
)

/** A neighbour of the node sends it packets to 127.0.0.1. They must not be translated before they are refused. */
async function refuseLoopbackFromOutside(t: Test, outsider: Netns): Promise<void> {
  await outsider.run(['sysctl', '-q', '-w', 'net.ipv4.conf.all.route_localnet=1'])
  await outsider.run(['ip', 'address', 'delete', '127.0.0.1/8', 'dev', 'lo'])
  await outsider.run(['ip', 'route', 'add', '127.0.0.1/32', 'via', UPLINK_IPV4, 'src', OUTSIDER_IPV4])
  t.match(await askTcp(outsider, { address: '127.0.0.1', port: 8081 }), /^refused: /, 'not from a neighbour')
}

t.test('a UDP client that goes on and on reaches whichever pod has the port by now (R19)', async t => {
  await using node = await startNodeWithPorts()
  await using outsider = await connectOutsider(node.netns, [])
  const dns = { hostPort: 5353, containerPort: 53, protocol: 'UDP' }
  await leavesNothing(t, node, async () => {
    for (const [from, address, localPort] of [
      [outsider, UPLINK_IPV4, 40_000],
      [outsider, UPLINK_IPV6, 40_001],
      [node.netns, HOST_IPV4, 40_002],
      [node.netns, '127.0.0.1', 40_003],
    ] as const) {
      const ask = (): Promise<string> => askUdp(from, { address, port: 5353 }, localPort)
      t.equal(await ask(), 'no answer', 'the kernel remembers a flow to the node itself')
      for (const name of ['one', 'two']) {
        await using pod = await attachWithPorts(node, dns)
        await using server = await serveUdp(
          pod.netns,
          { address: address.includes(':') ? pod.ipv6 : pod.ipv4, port: 53 },
          name,
        )
        t.match(await ask(), `${name} to `, `from port ${localPort} to ${address}`)
        await server.stop()
        await node.detach(pod)
      }
      t.equal(await ask(), 'no answer', 'after DEL')
    }
  })
  await node.netns.run(['ip', 'link', 'delete', 'up0'])
})

t.test('UDP flows through the node to the same port of somebody else are left alone', async t => {
  await using node = await startNodeWithPorts()
  await using outsider = await connectOutsider(node.netns, ['10.244.0.0/16'])
  await leavesNothing(t, node, async () => {
    await using client = await node.attach()
    await using server = await serveUdp(outsider, { address: OUTSIDER_IPV4, port: 5353 }, 'outside')
    t.equal(await askUdp(client.netns, { address: OUTSIDER_IPV4, port: 5353 }, 40_000), `outside to ${client.ipv4}`)
    const flows = async () => await node.netns.run(['cat', '/proc/net/nf_conntrack'])
    t.match(await flows(), `dst=${OUTSIDER_IPV4}`)
    await using pod = await attachWithPorts(node, { hostPort: 5353, containerPort: 53, protocol: 'udp' })
    t.match(await flows(), `dst=${OUTSIDER_IPV4}`)
    await node.detach(pod)
    t.match(await flows(), `dst=${OUTSIDER_IPV4}`)
    await server.stop()
    await node.detach(client)
  })
  await node.netns.run(['ip', 'link', 'delete', 'up0'])
})

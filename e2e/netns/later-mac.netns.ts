import './harness/isolated.ts'
import { join } from 'node:path'
import t from 'tap'
import { debianParts } from '../parts/debian.ts'
import { Capture } from './harness/capture.ts'
import { connect } from './harness/connect.ts'
import { asObjects } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { askTcp, ping, serveTcp } from './harness/reach.ts'
import { CniRuntime, newAttachment } from './harness/runtime.ts'
import { HOST_IPV4, HOST_IPV6, TulleNode, addressesOf, leavesNothing } from './harness/tulle-node.ts'
import { BIN_FOLDER } from './harness/tulle.ts'

// A routed pod gets another hardware address after ADD: the host's entries follow, whoever changed it, with and without ipamd
// (checklist K4; ADR 15).

const MAC = '02:00:5e:00:53:42'
const reference = join(await debianParts(['containernetworking-plugins']), 'usr/lib/cni')
const node = await TulleNode.start()
t.teardown(() => node[Symbol.asyncDispose]())

/** Where the launcher looks for ipamd. At the other one nobody listens: it does the call itself, as when ipamd is down. */
const PATH = process.env['PATH'] ?? ''
const HOSTS = [
  { name: 'served by ipamd', env: { PATH } },
  { name: 'done by the plugin itself', env: { PATH, TULLE_IPAMD_SOCKET: '/run/nobody/ipamd.sock' } },
]

for (const { name, env } of HOSTS) {
  t.test(`the reference plugin tuning behind ours changes the hardware address: ${name}`, async t => {
    const own = { type: 'tulle', ipam: { type: 'tulle-ipam' } }
    const plugins = [own, { type: 'tuning', mac: MAC }]
    const conflist = { cniVersion: '1.0.0', name: 'pods', plugins }
    const runtime = new CniRuntime({ conflist, cniPath: [BIN_FOLDER, reference], env })
    await leavesNothing(t, node, async () => {
      await using other = await node.attach()
      await using netns = await Netns.create('pod')
      const attachment = newAttachment(netns)
      const added = await runtime.add(attachment)
      t.equal(added.exitCode, 0, added.stdout)
      t.equal((await runtime.check(attachment)).stdout, '', 'CHECK at once')
      t.match(await netns.run(['ip', 'link', 'show', 'eth0']), new RegExp(MAC))
      for (const address of addressesOf(added.json)) {
        t.type(await ping(node.netns, address), 'number', `node to ${address}`)
        t.type(await ping(other.netns, address), 'number', `pod to ${address}`)
        await using server = await serveTcp(netns, { address, port: 80 }, 'hello')
        t.match(await askTcp(other.netns, { address, port: 80 }), /^hello to /)
        await server.stop()
      }
      for (const address of [HOST_IPV4, HOST_IPV6, other.ipv4, other.ipv6])
        t.type(await ping(netns, address), 'number', `to ${address}`)
      t.equal((await runtime.check(attachment)).stdout, '', 'and when the pod has asked for its gateway')
      t.equal((await runtime.del(attachment)).exitCode, 0)
      await node.detach(other)
    })
  })
}

t.test('a pod that changes its own is reached at once although it sent nothing, also while ipamd is away', async t => {
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    await node.stopIpamd()
    await pod.netns.run(['ip', 'link', 'set', 'eth0', 'address', MAC])
    for (const address of [pod.ipv4, pod.ipv6]) t.type(await ping(node.netns, address), 'number', address)
    await node.startIpamd()
    await pod.netns.run(['ip', 'link', 'set', 'eth0', 'address', '02:00:5e:00:53:43'])
    for (const address of [pod.ipv4, pod.ipv6]) t.type(await ping(node.netns, address), 'number', address)
    for (const address of [HOST_IPV4, HOST_IPV6]) t.type(await ping(pod.netns, address), 'number', address)
    await node.detach(pod)
  })
})

t.test("a pod cannot take another's packets by saying that it has its address", async t => {
  await leavesNothing(t, node, async () => {
    await using liar = await node.attach()
    await using victim = await node.attach()
    const before = await neighboursOf(node.netns, victim.hostIfName)
    // The kernel announces whatever address the interface has.
    await liar.netns.run(['ip', 'address', 'add', `${victim.ipv4}/32`, 'dev', 'eth0'])
    await liar.netns.run(['ip', 'address', 'add', `${victim.ipv6}/128`, 'dev', 'eth0', 'nodad'])
    await using seen = await Capture.start(node.netns, { ifName: liar.hostIfName })
    await using stolen = await Capture.start(liar.netns)
    await liar.netns.run(['ip', 'link', 'set', 'eth0', 'address', MAC])
    await seen.until(new RegExp(`ARP, Request who-has ${victim.ipv4}`))
    for (const address of [victim.ipv4, victim.ipv6, liar.ipv4, liar.ipv6])
      t.type(await ping(node.netns, address), 'number', address)
    await seen.stop()
    await stolen.until(new RegExp(`> ${liar.ipv6}: ICMP6, echo request`))
    await stolen.stop()
    t.same(stolen.matches(new RegExp(`> (?:${victim.ipv4}|${victim.ipv6}): ICMP6?,? echo request`)), [])
    t.same(await neighboursOf(node.netns, victim.hostIfName), before)
    for (const pod of [liar, victim]) await node.detach(pod)
  })
})

t.test('the address that answers for the gateway is never the source of what the node says', async t => {
  await leavesNothing(t, node, async () => {
    await using outsider = await Netns.create('outsider')
    await connect(
      { netns: node.netns, ifName: 'up0', addresses: ['198.51.100.1/24'] },
      { netns: outsider, ifName: 'eth0', addresses: ['198.51.100.2/24'] },
    )
    await using pod = await node.attach()
    for (const address of [pod.ipv4, '198.51.100.2']) {
      const [route] = asObjects(JSON.parse(await node.netns.run(['ip', '-json', 'route', 'get', address])), 'ip route')
      t.notMatch(route?.['prefsrc'], /^169\.254\./, address)
    }
    await node.detach(pod)
    await node.netns.run(['ip', 'link', 'delete', 'up0'])
  })
})

/** The addresses that a link of the node has neighbours for, with their hardware addresses. */
async function neighboursOf(netns: Netns, ifName: string): Promise<readonly string[]> {
  const found = asObjects(JSON.parse(await netns.run(['ip', '-json', 'neighbour', 'show', 'dev', ifName])), 'ip')
  return found.map(({ dst, lladdr }) => `${String(dst)} ${String(lladdr)}`).toSorted()
}

import './harness/isolated.ts'
import { mkdtempDisposable, readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { debianParts } from '../parts/debian.ts'
import { asObject } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { askTcp, ping, serveTcp } from './harness/reach.ts'
import { newAttachment } from './harness/runtime.ts'
import { HOST_IPV4, HOST_IPV6, TulleNode, leavesNothing } from './harness/tulle-node.ts'
import { until } from './harness/until.ts'

// Other people's IPAM plugins under tulle, and tulle-ipam under other people's interface plugins (SPEC 1.1.0, section 4;
// checklist A8, D3, K6, G5). The others are Debian's build of the reference plugins.

const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-delegation-'))
t.teardown(() => folder.remove())
const cniPath = [join(await debianParts(['containernetworking-plugins']), 'usr/lib/cni')]

/** host-local keeps one file for each address that is taken. */
const DATA_FOLDER = join(folder.path, 'host-local')
const HOST_LOCAL = {
  type: 'host-local',
  dataDir: DATA_FOLDER,
  ranges: [[{ subnet: '10.88.0.0/29' }], [{ subnet: 'fd00:10:88::/64' }]],
}

/** As with host-local, routes are in the section of the IPAM plugin. */
const OWN_IPAM = { type: 'tulle-ipam', routes: [{ dst: '0.0.0.0/0' }] }
const BRIDGE = { type: 'bridge', bridge: 'cni0', isGateway: true, ipam: OWN_IPAM }

t.test('tulle with host-local: ADD, CHECK, DEL', async t => {
  await using node = await TulleNode.start({ plugin: { ipam: HOST_LOCAL }, cniPath, cniVersion: '1.0.0' })
  await leavesNothing(t, node, async () => {
    await using one = await node.attach()
    await using two = await node.attach()
    t.match([one.ipv4, one.ipv6], [/^10\.88\.0\.\d$/, /^fd00:10:88::/])
    t.same((await taken()).toSorted(), [one.ipv4, one.ipv6, two.ipv4, two.ipv6].toSorted())
    for (const to of [two.ipv4, two.ipv6, HOST_IPV4, HOST_IPV6]) t.type(await ping(one.netns, to), 'number', to)
    t.same(await node.leases(), [], 'ipamd has nothing to do with it')
    t.equal((await node.runtime.check(one.attachment)).stdout, '')
    await node.detach(one)
    t.equal((await node.runtime.del(one.attachment)).exitCode, 0, 'twice')
    t.same((await taken()).toSorted(), [two.ipv4, two.ipv6].toSorted())
    await node.detach(two)
    t.same(await taken(), [])
  })
})

t.test('CHECK passes on what host-local says (K6)', async t => {
  await using node = await TulleNode.start({ plugin: { ipam: HOST_LOCAL }, cniPath, cniVersion: '1.0.0' })
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    await node.netns.run(['rm', '-r', DATA_FOLDER])
    t.match((await node.runtime.check(pod.attachment)).json, {
      msg: /host-local: Failed to find address added by container/,
    })
    await node.detach(pod)
  })
})

t.test('routes of host-local are the routes of the pod, through the node', async t => {
  const ipam = { ...HOST_LOCAL, routes: [{ dst: `${HOST_IPV4}/32` }, { dst: '2001:db8::/64' }] }
  await using node = await TulleNode.start({ plugin: { ipam }, cniPath, cniVersion: '1.0.0' })
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    t.match(await pod.netns.run(['ip', 'route']), new RegExp(`^${HOST_IPV4} via 169\\.254\\.1\\.1 dev eth0`, 'm'))
    t.notMatch(await pod.netns.run(['ip', 'route']), /^default/m)
    for (const to of [HOST_IPV4, HOST_IPV6]) t.type(await ping(pod.netns, to), 'number', to)
    t.equal((await node.runtime.check(pod.attachment)).stdout, '')
    await node.detach(pod)
  })
})

t.test('DEL frees at host-local with the namespace gone, and without prevResult (D3)', async t => {
  await using node = await TulleNode.start({ plugin: { ipam: HOST_LOCAL }, cniPath, cniVersion: '1.0.0' })
  await leavesNothing(t, node, async () => {
    await using one = await node.attach()
    await using two = await node.attach()
    await one.netns.delete()
    t.match(await node.runtime.del(one.attachment), { exitCode: 0, stdout: '' })
    t.match(await node.runtime.del({ ...two.attachment, netnsPath: '' }, { isResultLost: true }), {
      exitCode: 0,
      stdout: '',
    })
    t.same(await taken(), [])
  })
})

t.test('an ADD that fails frees what host-local gave (A8)', async t => {
  // 1,200 bytes are too few for IPv6, which shows only when there are addresses.
  await using node = await TulleNode.start({
    plugin: { ipam: HOST_LOCAL, mtu: 1200 },
    cniPath,
    cniVersion: '1.0.0',
    isFresh: true,
  })
  await leavesNothing(t, node, async () => {
    await using netns = await Netns.create('pod')
    t.match((await node.runtime.add(newAttachment(netns))).json, { code: 7, msg: /^mtu 1200 is too small for IPv6/ })
    t.same(await taken(), [])
  })
})

t.test('what host-local refuses reaches the runtime with its name, and nothing is left', async t => {
  await using node = await TulleNode.start({ plugin: { ipam: HOST_LOCAL }, cniPath, cniVersion: '1.0.0' })
  await leavesNothing(t, node, async () => {
    const pods = []
    for (let count = 0; count < 5; count += 1) pods.push(await node.attach())
    await using netns = await Netns.create('pod')
    const refused = await node.runtime.add(newAttachment(netns))
    t.match(refused.json, { msg: /^host-local: .*no IP addresses available in range set/ }, refused.stdout)
    for (const pod of pods) await node.detach(pod)
    t.same(await taken(), [])
  })
})

for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0']) {
  t.test(`the reference bridge with tulle-ipam at ${cniVersion}`, async t => {
    await addBridge()
    await using node = await TulleNode.start({ plugins: [BRIDGE], prefixes: ['10.244.0.0/16'], cniPath, cniVersion })
    await leavesNothing(t, node, async () => {
      await using one = await node.attach()
      await using two = await node.attach()
      t.equal((await node.leases()).length, 2)
      const [ip] = [one.result['ips']].flat().map(each => asObject(each, 'ips[0]'))
      t.match(ip, { address: /^10\.244\.0\.\d+\/24$/, gateway: '10.244.0.1' }, 'with the length of the block')
      await using server = await serveTcp(two.netns, { address: two.ipv4, port: 80 }, 'hello')
      t.equal(await askTcp(one.netns, { address: two.ipv4, port: 80 }), `hello to ${one.ipv4}`)
      await server.stop()
      t.type(await ping(one.netns, '10.244.0.1'), 'number', 'the gateway on the bridge')
      t.type(await ping(one.netns, HOST_IPV4), 'number', 'by the route that the configuration names')
      if (cniVersion !== '0.3.1') t.equal((await node.runtime.check(one.attachment)).stdout, '')
      await node.detach(one)
      t.equal((await node.runtime.del(one.attachment)).exitCode, 0, 'twice')
      t.equal((await node.leases()).length, 1, 'the address is freed')
      await two.netns.delete()
      t.equal((await node.runtime.del(two.attachment)).exitCode, 0, 'with the namespace gone')
      t.same(await node.leases(), [])
    })
    await removeBridge()
  })
}

t.test('the reference macvlan with tulle-ipam', async t => {
  const macvlan = { type: 'macvlan', master: 'up0', mode: 'bridge', ipam: OWN_IPAM }
  await using lan = await Netns.create('lan')
  await Netns.own().run(['ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', lan.iproute2Name])
  // Without an address of its own, which would be tentative first.
  await Netns.own().run(['ip', 'link', 'set', 'up0', 'addrgenmode', 'none'])
  await Netns.own().run(['ip', 'link', 'set', 'up0', 'up'])
  await lan.run(['ip', 'link', 'set', 'eth0', 'up'])
  await using node = await TulleNode.start({
    plugins: [macvlan],
    prefixes: ['10.244.0.0/16'],
    cniPath,
    cniVersion: '1.0.0',
  })
  await leavesNothing(t, node, async () => {
    await using one = await node.attach()
    await using two = await node.attach()
    t.type(await ping(one.netns, two.ipv4), 'number', 'two containers talk')
    t.equal((await node.runtime.check(one.attachment)).stdout, '')
    for (const pod of [one, two]) await node.detach(pod)
    t.same(await node.leases(), [])
  })
  await node.netns.run(['ip', 'link', 'delete', 'up0'])
})

t.test('tulle-ipam spools the release when ipamd is down, and ADD says that it is', async t => {
  await addBridge()
  await using node = await TulleNode.start({
    plugins: [BRIDGE],
    prefixes: ['10.244.0.0/16'],
    cniPath,
    cniVersion: '1.0.0',
  })
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    await node.stopIpamd()
    await node.detach(pod)
    await using netns = await Netns.create('pod')
    const refused = newAttachment(netns)
    t.match((await node.runtime.add(refused)).json, { code: 11, msg: /ipamd at \/run\/tulle\/ipamd\.sock/ })
    t.equal((await node.runtime.del(refused)).exitCode, 0)
    await node.startIpamd()
    t.same(await node.leases(), [])
  })
  await removeBridge()
})

/**
 * The bridge of the tests, in a state that does not change by itself: without a link-local address, which would wait for
 * duplicate address detection, and with a port that is always up, because the kernel marks routes of a bridge without one.
 */
async function addBridge(): Promise<void> {
  const node = Netns.own()
  for (const command of [
    ['ip', 'link', 'add', 'cni0', 'type', 'bridge'],
    // A request of its own: of one request the kernel carries out `up` first.
    ['ip', 'link', 'set', 'cni0', 'addrgenmode', 'none'],
    ['ip', 'link', 'add', 'port0', 'master', 'cni0', 'type', 'veth', 'peer', 'name', 'port1'],
    ['ip', 'link', 'set', 'port0', 'addrgenmode', 'none'],
    ['ip', 'link', 'set', 'port1', 'addrgenmode', 'none'],
    ['ip', 'link', 'set', 'port0', 'up'],
    ['ip', 'link', 'set', 'port1', 'up'],
    ['ip', 'link', 'set', 'cni0', 'up'],
  ] as const) {
    await node.run(command)
  }
  await until('cni0 is up', async () => (await node.run(['ip', 'link', 'show', 'cni0'])).includes('state UP'))
}

async function removeBridge(): Promise<void> {
  for (const link of ['port0', 'cni0']) await Netns.own().run(['ip', 'link', 'delete', link])
}

/** The addresses that host-local has given out. */
async function taken(): Promise<readonly string[]> {
  try {
    return (await readdir(join(DATA_FOLDER, 'pods'))).filter(name => /^[0-9a-f.:]+$/.test(name))
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return []
    throw cause
  }
}

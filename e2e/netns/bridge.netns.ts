import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { debianParts } from '../parts/debian.ts'
import { keepUp, removeBridge } from './harness/bridge.ts'
import { connect } from './harness/connect.ts'
import { asObjects, type JsonObject } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { askTcp, ping, serveTcp } from './harness/reach.ts'
import {
  HOST_IPV4,
  HOST_IPV6,
  leavesNothing,
  type Pod,
  TulleNode,
  type TulleNodeOptions,
} from './harness/tulle-node.ts'

// Pods on a bridge of the node: what they reach, and what the options of the reference plugin do (docs/dataplane.md).

const OUTSIDER_IPV4 = '198.51.100.2'
const OUTSIDER_IPV6 = '2001:db8:1::2'
const IPV4_POOL = '10.244.0.0/16'
const IPV6_POOL = 'fd00:10:244::/56'
const GATEWAY_OF_ALL = { mode: 'bridge', isDefaultGateway: true }

const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-bridge-'))
t.teardown(() => folder.remove())
const cniPath = [join(await debianParts(['containernetworking-plugins']), 'usr/lib/cni')]
const HOST_LOCAL = {
  type: 'host-local',
  dataDir: join(folder.path, 'host-local'),
  ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:10:88::/64' }]],
}

/** A node whose bridge is there and stays up, so that snapshots are equal to the last line. */
async function startNode(plugin: JsonObject, options: TulleNodeOptions = {}) {
  const node = await TulleNode.start({ ...options, plugin })
  const kept = await keepUp('cni0')
  return {
    node,
    async [Symbol.asyncDispose]() {
      await kept[Symbol.asyncDispose]()
      await removeBridge('cni0')
      await node[Symbol.asyncDispose]()
    },
  }
}

/** What one pod says to another over TCP. */
async function talk(from: Pod, to: Pod, address: string): Promise<string> {
  await using server = await serveTcp(to.netns, { address, port: 80 }, 'hello')
  const answer = await askTcp(from.netns, { address, port: 80 })
  await server.stop()
  return answer
}

const MIXES = [
  { name: 'IPv4 from ipamd', prefixes: [IPV4_POOL] },
  { name: 'IPv6 from ipamd', prefixes: [IPV6_POOL] },
  { name: 'both families from ipamd', prefixes: [IPV4_POOL, IPV6_POOL] },
  { name: 'both families from host-local', ipam: HOST_LOCAL },
] as const

for (const { name, ...mix } of MIXES) {
  t.test(`pods on a bridge, the node and outside reach each other: ${name}`, async t => {
    const ipam = 'ipam' in mix ? { ipam: mix.ipam } : {}
    const prefixes = 'prefixes' in mix ? { prefixes: mix.prefixes } : {}
    await using started = await startNode({ ...GATEWAY_OF_ALL, ...ipam }, { ...prefixes, cniPath, cniVersion: '1.0.0' })
    const { node } = started
    await using outsider = await connectOutsider(node.netns)
    await leavesNothing(t, node, async () => {
      await using one = await node.attach()
      await using two = await node.attach()
      for (const family of ['ipv4', 'ipv6'] as const) {
        if (one[family] === '') continue
        const host = family === 'ipv4' ? HOST_IPV4 : HOST_IPV6
        const outside = family === 'ipv4' ? OUTSIDER_IPV4 : OUTSIDER_IPV6
        t.equal(await talk(one, two, two[family]), `hello to ${one[family]}`, `${family}: pod to pod`)
        t.type(await ping(one.netns, host, 3), 'number', `${family}: pod to node`)
        t.type(await ping(node.netns, one[family], 3), 'number', `${family}: node to pod`)
        t.type(await ping(one.netns, outside, 3), 'number', `${family}: pod to outside, by the gateway`)
        t.type(await ping(outsider, one[family], 3), 'number', `${family}: outside to pod`)
        t.type(await ping(one.netns, one[family]), 'number', `${family}: a pod reaches itself`)
      }
      t.match(await node.runtime.check(one.attachment), { exitCode: 0, stdout: '' })
      t.notMatch(await one.netns.run(['ip', '-6', 'address']), /tentative/, 'no address waits (R15)')
      await node.detach(one)
      t.equal((await node.runtime.del(one.attachment)).exitCode, 0, 'twice')
      await two.netns.delete()
      t.equal((await node.runtime.del(two.attachment)).exitCode, 0, 'with the namespace gone')
    })
    await node.netns.run(['ip', 'link', 'delete', 'up0'])
  })
}

t.test('a result on a bridge has the bridge, both ends, the length of the link and its gateway (A4, A5)', async t => {
  await using started = await startNode({ ...GATEWAY_OF_ALL, mtu: 1400 })
  const { node } = started
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    t.match(asObjects(pod.result['interfaces'], 'interfaces'), [
      { name: 'cni0', mac: await macOf(node.netns, 'cni0'), mtu: 1400 },
      { name: pod.hostIfName, mtu: 1400 },
      { name: 'eth0', mtu: 1400, sandbox: pod.netns.path },
    ])
    t.match(asObjects(pod.result['ips'], 'ips'), [
      { address: `${pod.ipv4}/24`, gateway: '10.244.0.1', interface: 2 },
      { address: `${pod.ipv6}/64`, gateway: 'fd00:10:244::1', interface: 2 },
    ])
    t.match(asObjects(pod.result['routes'], 'routes'), [
      { dst: '0.0.0.0/0', gw: '10.244.0.1' },
      { dst: '::/0', gw: 'fd00:10:244::1' },
    ])
    await node.detach(pod)
  })
})

t.test('portIsolation keeps pods from each other, and not from the node or outside', async t => {
  await using started = await startNode({ ...GATEWAY_OF_ALL, portIsolation: true })
  const { node } = started
  await leavesNothing(t, node, async () => {
    await using one = await node.attach()
    await using two = await node.attach()
    for (const family of ['ipv4', 'ipv6'] as const) {
      t.equal(await ping(one.netns, two[family]), undefined, `${family}: the other pod`)
      t.type(await ping(one.netns, family === 'ipv4' ? HOST_IPV4 : HOST_IPV6), 'number', `${family}: the node`)
    }
    t.equal((await node.runtime.check(one.attachment)).stdout, '')
    for (const pod of [one, two]) await node.detach(pod)
  })
})

const STOLEN = '02:00:00:00:be:ef'
for (const macspoofchk of [true, false]) {
  t.test(
    `a pod that takes another hardware address is ${macspoofchk ? 'cut off by macspoofchk' : 'still reached'}`,
    async t => {
      await using started = await startNode({ ...GATEWAY_OF_ALL, macspoofchk })
      const { node } = started
      await leavesNothing(t, node, async () => {
        await using one = await node.attach()
        await using two = await node.attach()
        t.equal(await talk(one, two, two.ipv4), `hello to ${one.ipv4}`, 'under its own')
        t.type(await ping(one.netns, HOST_IPV6, 3), 'number')
        await one.netns.run(['ip', 'link', 'set', 'eth0', 'address', STOLEN])
        for (const address of [two.ipv4, two.ipv6, '10.244.0.1']) {
          const isReached = (await ping(one.netns, address, macspoofchk ? 1 : 5)) !== undefined
          t.equal(isReached, !macspoofchk, `${address} under another`)
        }
        t.match((await node.runtime.check(one.attachment)).json, {
          code: 106,
          msg: /eth0 has the hardware address 02:/,
        })
        for (const pod of [one, two]) await node.detach(pod)
      })
    },
  )
}

for (const hairpinMode of [true, false]) {
  t.test(
    `a frame ${hairpinMode ? 'leaves' : 'does not leave'} by the port that it came from, hairpinMode ${hairpinMode}`,
    async t => {
      await using started = await startNode({ ...GATEWAY_OF_ALL, hairpinMode })
      const { node } = started
      await leavesNothing(t, node, async () => {
        await using pod = await node.attach()
        // Two machines behind one port, which have nobody but the bridge to take their frames from one to the other.
        await using left = await addVepa(pod, 'left', '10.244.0.251/24')
        await using right = await addVepa(pod, 'right', '10.244.0.252/24')
        const isReached = (await ping(left, '10.244.0.252', hairpinMode ? 5 : 1)) !== undefined
        t.equal(isReached, hairpinMode)
        t.type(await ping(right, '10.244.0.1', 5), 'number', 'both are there')
        t.equal((await node.runtime.check(pod.attachment)).stdout, '')
        await node.detach(pod)
      })
    },
  )
}

t.test('promiscMode makes the bridge take every frame', async t => {
  await using started = await startNode({ ...GATEWAY_OF_ALL, promiscMode: true })
  const { node } = started
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    t.match(await node.netns.run(['ip', 'link', 'show', 'cni0']), /PROMISC/)
    t.equal((await node.runtime.check(pod.attachment)).stdout, '')
    await node.netns.run(['ip', 'link', 'set', 'cni0', 'promisc', 'off'])
    t.match((await node.runtime.check(pod.attachment)).json, { code: 106, msg: /cni0 is not promiscuous/ })
    await using again = await node.attach()
    t.equal((await node.runtime.check(pod.attachment)).stdout, '', 'the next ADD makes it so again')
    for (const each of [pod, again]) await node.detach(each)
  })
})

t.test('CHECK names what of a bridge is no longer as it was made (K2, K3)', async t => {
  await using started = await startNode({ ...GATEWAY_OF_ALL, hairpinMode: true, macspoofchk: true })
  const { node } = started
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    const { hostIfName } = pod
    const fdb = await node.netns.run(['bridge', 'fdb', 'show', 'brport', hostIfName])
    const allowed = /^(\S+) .*static$/m.exec(fdb)?.[1] ?? ''
    for (const [broken, mended, says] of [
      [`ip link set ${hostIfName} nomaster`, undefined, 'is no port of a bridge'],
      [`bridge link set dev ${hostIfName} hairpin off`, `bridge link set dev ${hostIfName} hairpin on`, 'hairpin'],
      [
        `bridge link set dev ${hostIfName} locked off`,
        `bridge link set dev ${hostIfName} locked on`,
        'from any address',
      ],
      [
        `bridge fdb del ${allowed} dev ${hostIfName} master`,
        `bridge fdb add ${allowed} dev ${hostIfName} master static`,
        'takes no frames from',
      ],
      [
        'ip address delete 10.244.0.1/24 dev cni0',
        'ip address add 10.244.0.1/24 dev cni0',
        'has no address 10.244.0.1/24',
      ],
      ['ip link set cni0 down', 'ip link set cni0 up', 'cni0 is down'],
    ] as const) {
      if (mended === undefined) continue
      await node.netns.run(['sh', '-c', broken])
      t.match((await node.runtime.check(pod.attachment)).json, { code: 106, details: new RegExp(says) }, broken)
      await node.netns.run(['sh', '-c', mended])
    }
    // The last one: joining again would not bring the port's settings back.
    await node.netns.run(['ip', 'link', 'set', hostIfName, 'nomaster'])
    t.match((await node.runtime.check(pod.attachment)).json, { code: 106, details: /is no port of a bridge/ })
    await node.detach(pod)
    // Putting it down took the addresses of IPv6: the next ADD brings them back.
    await using next = await node.attach()
    await node.detach(next)
  })
})

/** A machine behind a pod's interface: a macvlan in VEPA mode, whose frames to its neighbours go out first. */
async function addVepa(pod: Pod, ifName: string, address: string): Promise<Netns> {
  const netns = await Netns.create(ifName)
  const link = ['ip', 'link', 'add', 'link', 'eth0', 'name', ifName, 'type', 'macvlan', 'mode', 'vepa'] as const
  await pod.netns.run(link)
  await pod.netns.run(['ip', 'link', 'set', ifName, 'netns', netns.name])
  await netns.run(['ip', 'address', 'add', address, 'dev', ifName])
  await netns.run(['ip', 'link', 'set', ifName, 'up'])
  return netns
}

async function macOf(netns: Netns, ifName: string): Promise<string> {
  const [link] = asObjects(JSON.parse(await netns.run(['ip', '-json', 'link', 'show', 'dev', ifName])), 'ip link')
  return String(link?.['address'])
}

/** A host outside, to which the node is the router. */
async function connectOutsider(node: Netns): Promise<Netns> {
  const outsider = await Netns.create('outside', { isLoopbackUp: true })
  await connect(
    { netns: node, ifName: 'up0', addresses: ['198.51.100.1/24', '2001:db8:1::1/64'] },
    { netns: outsider, ifName: 'eth0', addresses: [`${OUTSIDER_IPV4}/24`, `${OUTSIDER_IPV6}/64`] },
  )
  await outsider.run(['ip', 'route', 'add', 'default', 'via', '198.51.100.1'])
  await outsider.run(['ip', '-6', 'route', 'add', 'default', 'via', '2001:db8:1::1'])
  return outsider
}

import './harness/isolated.ts'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { buildIcmpv6Sender, routerAdvertisement } from './harness/icmpv6.ts'
import { asObjects } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { connectOutsider, OUTSIDER_IPV4, OUTSIDER_IPV6 } from './harness/outsider.ts'
import { askTcp, ping, serveTcp } from './harness/reach.ts'
import { newAttachment } from './harness/runtime.ts'
import { setSysctl } from './harness/sysctl.ts'
import { HOST_IPV4, HOST_IPV6, TulleNode, leavesNothing } from './harness/tulle-node.ts'
import { until } from './harness/until.ts'

// What a pod can reach, and who it is to those that it reaches (design section 3).

const IPV4_POOL = '10.244.0.0/16'
const IPV6_POOL = 'fd00:10:244::/56'
const POOLS = [IPV4_POOL, IPV6_POOL]
/** ICMP and IP headers: what ping's -s does not count. */
const IPV4_OVERHEAD_BYTES = 28
const IPV6_OVERHEAD_BYTES = 48

const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-dataplane-'))
t.teardown(() => folder.remove())

/** Of one family, what the sides of a conversation are called. */
interface Sides {
  readonly one: string
  readonly two: string
  readonly host: string
  readonly outsider: string
}

for (const prefixes of [[IPV4_POOL], [IPV6_POOL], [IPV4_POOL, IPV6_POOL]]) {
  t.test(`pods, node and outside reach each other, from ${prefixes.join(' and ')}`, async t => {
    await using node = await TulleNode.start({ prefixes })
    await using outsider = await connectOutsider(node.netns, POOLS)
    await leavesNothing(t, node, async () => {
      await using one = await node.attach()
      await using two = await node.attach()
      t.equal(
        [one.ipv4, one.ipv6].filter(address => address !== '').length,
        prefixes.length,
        'an address of each family',
      )
      const families: readonly Sides[] = [
        { one: one.ipv4, two: two.ipv4, host: HOST_IPV4, outsider: OUTSIDER_IPV4 },
        { one: one.ipv6, two: two.ipv6, host: HOST_IPV6, outsider: OUTSIDER_IPV6 },
      ]
      for (const sides of families.filter(({ one }) => one !== '')) {
        const ends = { one: one.netns, two: two.netns, host: node.netns, outsider }
        for (const [from, to] of CONVERSATIONS) {
          t.type(await ping(ends[from], sides[to], 3), 'number', `${from} pings ${to} at ${sides[to]}`)
          await using server = await serveTcp(ends[to], { address: sides[to], port: 80 }, 'hello')
          const answer = await askTcp(ends[from], { address: sides[to], port: 80 })
          if (from === 'host') t.match(answer, /^hello to /, `${from} talks TCP to ${to}`)
          else t.equal(answer, `hello to ${sides[from]}`, `${from} talks TCP to ${to} under its own address`)
          await server.stop()
        }
        t.type(await ping(one.netns, sides.one), 'number', 'a pod reaches itself')
      }
      t.type(await ping(one.netns, '127.0.0.1'), 'number', 'its loopback is up')
      await node.detach(one)
      await node.detach(two)
    })
    await node.netns.run(['ip', 'link', 'delete', 'up0'])
  })
}

type Side = keyof Sides
const CONVERSATIONS: readonly (readonly [Side, Side])[] = [
  ['one', 'two'],
  ['two', 'one'],
  ['one', 'host'],
  ['host', 'one'],
  ['one', 'outsider'],
  ['outsider', 'one'],
]

t.test('the MTU is that of the device of the default route, looked up at each ADD (R27)', async t => {
  await using node = await TulleNode.start()
  await using outsider = await connectOutsider(node.netns, POOLS)
  await leavesNothing(t, node, async () => {
    for (const [command, mtuBytes] of [
      [['ip', 'link', 'set', 'up0', 'mtu', '1400'], 1500],
      [['ip', 'route', 'add', 'default', 'via', OUTSIDER_IPV4], 1400],
      [['ip', 'link', 'set', 'up0', 'mtu', '9000'], 9000],
      [['ip', 'link', 'set', 'up0', 'mtu', '1400'], 1400],
    ] as const) {
      await node.netns.run(command)
      await using pod = await node.attach()
      t.same(
        asObjects(pod.result['interfaces'], 'interfaces').map(({ mtu }) => mtu),
        [mtuBytes, mtuBytes],
        command.join(' '),
      )
      t.same([await mtuOf(pod.netns, 'eth0'), await mtuOf(node.netns, pod.hostIfName)], [mtuBytes, mtuBytes])
      await node.detach(pod)
    }
    await outsider.run(['ip', 'link', 'set', 'eth0', 'mtu', '1400'])
    await using pod = await node.attach()
    await assertPath(t, pod.netns, OUTSIDER_IPV4, 1400)
    await assertPath(t, pod.netns, OUTSIDER_IPV6, 1400)
    await node.detach(pod)
    await node.netns.run(['ip', 'route', 'delete', 'default'])
    await node.netns.run(['ip', 'link', 'set', 'up0', 'mtu', '1500'])
  })
  await node.netns.run(['ip', 'link', 'delete', 'up0'])
})

t.test('the MTU of the configuration holds, and who sends more is told so', async t => {
  await using node = await TulleNode.start({ plugin: { mtu: 1300 } })
  await using outsider = await connectOutsider(node.netns, POOLS)
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    t.same([await mtuOf(pod.netns, 'eth0'), await mtuOf(node.netns, pod.hostIfName)], [1300, 1300])
    await assertPath(t, pod.netns, OUTSIDER_IPV4, 1300)
    await assertPath(t, pod.netns, OUTSIDER_IPV6, 1300)
    for (const [address, overheadBytes] of [
      [pod.ipv4, IPV4_OVERHEAD_BYTES],
      [pod.ipv6, IPV6_OVERHEAD_BYTES],
    ] as const) {
      const { stdout } = await pingWhole(outsider, address, 1500 - overheadBytes)
      t.match(stdout, /mtu ?= ?1300/, `the node answers what is too big for ${address}`)
    }
    await node.detach(pod)
  })
  await node.netns.run(['ip', 'link', 'delete', 'up0'])
})

t.test('ipsToRouteViaHost gives each address a route of its own through the node', async t => {
  const viaHost = ['169.254.20.10', 'fd00:10:96::a']
  await using node = await TulleNode.start({ plugin: { ipsToRouteViaHost: viaHost } })
  await node.netns.run(['ip', 'address', 'add', '169.254.20.10/32', 'dev', 'lo'])
  await node.netns.run(['ip', 'address', 'add', 'fd00:10:96::a/128', 'dev', 'lo', 'nodad'])
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    t.match(await pod.netns.run(['ip', 'route', 'show', '169.254.20.10']), /via 169\.254\.1\.1 dev eth0/)
    t.match(await pod.netns.run(['ip', '-6', 'route', 'show', 'fd00:10:96::a']), /via fe80::1 dev eth0/)
    // Whatever becomes of the default route: a mesh or a VPN in the pod replaces it.
    await pod.netns.run(['ip', 'route', 'replace', 'unreachable', 'default'])
    await pod.netns.run(['ip', '-6', 'route', 'replace', 'unreachable', 'default', 'metric', '1'])
    for (const [index, address] of viaHost.entries()) {
      await using server = await serveTcp(node.netns, { address, port: 53 }, 'dns')
      const want = `dns to ${index === 0 ? pod.ipv4 : pod.ipv6}`
      t.equal(await askTcp(pod.netns, { address, port: 53 }), want, 'and is not masqueraded')
      await server.stop()
    }
    await node.detach(pod)
  })
  await node.netns.run(['ip', 'address', 'delete', '169.254.20.10/32', 'dev', 'lo'])
  await node.netns.run(['ip', 'address', 'delete', 'fd00:10:96::a/128', 'dev', 'lo'])
})

t.test('as the second plugin it passes on what the first made (A2)', async t => {
  const earlier = {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'net1', mac: '02:00:00:00:00:01', sandbox: '/run/netns/some' }],
    ips: [{ address: '192.0.2.77/24', gateway: '192.0.2.254', interface: 0 }],
    routes: [{ dst: '203.0.113.0/24', gw: '192.0.2.254' }],
    dns: { nameservers: ['192.0.2.53'] },
  }
  await writeFile(join(folder.path, 'earlier.json'), JSON.stringify(earlier))
  const script = `#!/bin/sh\n[ "$CNI_COMMAND" != ADD ] || exec cat '${join(folder.path, 'earlier.json')}'\n`
  await writeFile(join(folder.path, 'earlier'), script, { mode: 0o755 })
  const plugins = [{ type: 'earlier' }, { type: 'tulle', ipam: { type: 'tulle-ipam' } }]
  await using node = await TulleNode.start({ plugins, cniPath: [folder.path] })
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    const [first, ...own] = asObjects(pod.result['interfaces'], 'interfaces')
    t.same(first, earlier.interfaces[0])
    t.match(own, [{ name: pod.hostIfName }, { name: 'eth0', sandbox: pod.netns.path }])
    const [kept, ...leased] = asObjects(pod.result['ips'], 'ips')
    t.same(kept, earlier.ips[0])
    t.same(
      leased.map(ip => ip['interface']),
      [2, 2],
      'indexes are those of the whole list',
    )
    t.same(asObjects(pod.result['routes'], 'routes')[0], earlier.routes[0])
    t.same(pod.result['dns'], earlier.dns)
    t.type(await ping(node.netns, String(leased[0]?.['address']).replace(/\/.*/, '')), 'number')
    t.equal((await node.runtime.check(pod.attachment)).stdout, '', 'CHECK knows which part is its own')
    await node.detach(pod)
  })
})

t.test('a pod in which IPv6 is switched off by default gets its IPv6 address all the same', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    await using netns = await Netns.create('pod')
    await netns.run(['sysctl', '-q', '-w', 'net.ipv6.conf.default.disable_ipv6=1'])
    const pod = await node.attach(netns)
    t.type(await ping(pod.netns, HOST_IPV6), 'number')
    t.type(await ping(node.netns, pod.ipv6), 'number')
    t.equal((await node.runtime.check(pod.attachment)).stdout, '')
    await node.detach(pod)
  })
})

t.test('a node in which new interfaces have IPv6 switched off serves IPv6 all the same', async t => {
  await using node = await TulleNode.start()
  await using _setting = await setSysctl(node.netns, 'net.ipv6.conf.default.disable_ipv6', '1')
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    t.type(await ping(node.netns, pod.ipv6), 'number')
    t.type(await ping(pod.netns, HOST_IPV6), 'number')
    await node.detach(pod)
  })
})

t.test('a node with IPv6 switched off refuses a pool with IPv6, by the name of the setting', async t => {
  await using node = await TulleNode.start()
  await using _setting = await setSysctl(node.netns, 'net.ipv6.conf.all.disable_ipv6', '1')
  await leavesNothing(t, node, async () => {
    await using netns = await Netns.create('pod')
    const attachment = newAttachment(netns)
    const added = await node.runtime.add(attachment)
    t.match(added.json, { code: 102, msg: /net\/ipv6\/conf\/all\/disable_ipv6 is 1 on this node/ }, added.stdout)
    t.equal((await node.runtime.del(attachment)).stdout, '')
  })
})

t.test('a node with IPv6 switched off serves an IPv4 pool', async t => {
  await using node = await TulleNode.start({ prefixes: [IPV4_POOL] })
  await using _setting = await setSysctl(node.netns, 'net.ipv6.conf.all.disable_ipv6', '1')
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    t.type(await ping(pod.netns, HOST_IPV4), 'number')
    t.equal((await node.runtime.check(pod.attachment)).stdout, '')
    await node.detach(pod)
  })
})

t.test('ADD switches forwarding on, says so, and keeps the default route that an uplink learns', async t => {
  await using node = await TulleNode.start()
  const icmpv6 = await buildIcmpv6Sender(folder.path)
  await leavesNothing(t, node, async () => {
    await using router = await connectOutsider(node.netns, POOLS)
    const learnsDefaultRoute = async (): Promise<void> => {
      await icmpv6.sendToAllNodes(router, 'eth0', routerAdvertisement())
      await until('the node learns a default route', () => hasLearntDefaultRoute(node.netns))
    }
    for (const setting of [
      'net/ipv4/ip_forward=0',
      'net/ipv6/conf/all/forwarding=0',
      'net/ipv6/conf/up0/accept_ra=1',
    ]) {
      await node.netns.run(['sysctl', '-q', '-w', setting])
    }
    await learnsDefaultRoute()

    await using netns = await Netns.create('pod')
    const attachment = newAttachment(netns)
    const added = await node.runtime.add(attachment)
    t.equal(added.exitCode, 0, added.stdout)
    for (const [key, value] of [
      ['net/ipv4/ip_forward', '1'],
      ['net/ipv6/conf/all/forwarding', '1'],
      ['net/ipv6/conf/up0/accept_ra', '2'],
    ] as const) {
      t.equal((await node.netns.run(['sysctl', '-n', key])).trim(), value)
      const said = node.ipamd.log.join('\n')
      t.ok(said.includes(`sysctl ${key} set to ${value}`), said)
    }
    t.ok(await hasLearntDefaultRoute(node.netns), 'the default route is still there')
    await node.netns.run(['ip', '-6', 'route', 'delete', 'default', 'dev', 'up0'])
    await learnsDefaultRoute()

    t.equal((await node.runtime.del(attachment)).exitCode, 0)
    await node.netns.run(['ip', 'link', 'delete', 'up0'])
  })
})

async function mtuOf(netns: Netns, ifName: string): Promise<unknown> {
  const [link] = asObjects(JSON.parse(await netns.run(['ip', '-json', 'link', 'show', 'dev', ifName])), 'ip link')
  return link?.['mtu']
}

/** Asserts that a packet of `mtuBytes` gets to `to` and back unfragmented, and one byte more does not leave. */
async function assertPath(
  t: Pick<Test, 'equal' | 'match'>,
  from: Netns,
  ...[to, mtuBytes]: [string, number]
): Promise<void> {
  const payloadBytes = mtuBytes - (to.includes(':') ? IPV6_OVERHEAD_BYTES : IPV4_OVERHEAD_BYTES)
  t.equal((await pingWhole(from, to, payloadBytes)).exitCode, 0, `${mtuBytes} bytes to ${to}`)
  const tooBig = await pingWhole(from, to, payloadBytes + 1)
  t.match(tooBig.stdout + tooBig.stderr, new RegExp(`mtu[:=] ?${mtuBytes}`), `not ${mtuBytes + 1} bytes`)
}

/** Sends one echo request that nobody may fragment. */
async function pingWhole(from: Netns, ...[to, payloadBytes]: [string, number]): ReturnType<Netns['execute']> {
  return await from.execute(['ping', '-n', '-c', '1', '-W', '2', '-M', 'do', '-s', String(payloadBytes), to])
}

async function hasLearntDefaultRoute(netns: Netns): Promise<boolean> {
  return (await netns.run(['ip', '-6', 'route', 'show', 'default', 'proto', 'ra'])).includes('dev up0')
}

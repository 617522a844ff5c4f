import './harness/isolated.ts'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { callDirectly } from './harness/direct-call.ts'
import { type JsonObject, asObject } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { ping } from './harness/reach.ts'
import { type RuntimeAttachment, newAttachment } from './harness/runtime.ts'
import { compareSnapshots, snapshotOf, takeSnapshot } from './harness/snapshot.ts'
import { HOST_IPV4, type Pod, TulleNode, addressesOf, leavesNothing } from './harness/tulle-node.ts'
import { RUN_FOLDER } from './harness/tulle.ts'
import { until } from './harness/until.ts'

// What a runtime may do to a pod, in whatever order and however often (checklist 1.4-1.9; issue 2).

const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const
const HAVE_CHECK: ReadonlySet<string> = new Set(['0.4.0', '1.0.0', '1.1.0'])

t.test(
  'ADD on a fresh node, and DEL: what stays is forwarding, the table inet tulle and a route for the block',
  async t => {
    await using node = await TulleNode.start({ isFresh: true })
    const before = await takeSnapshot(node.netns)
    await using pod = await node.attach()
    await node.detach(pod)
    const { added, removed } = compareSnapshots(before, await takeSnapshot(node.netns))
    const [settings, rest] = partition(added, entry => entry.startsWith('sysctls: '))
    t.same(
      // Writing ip_forward, the kernel writes accept_redirects too: a router takes no redirects.
      settings.filter(entry => !/forwarding = 1$|ip_forward = 1$|ipv4\/conf\/all\/accept_redirects = 0$/.test(entry)),
      [],
    )
    const [tables, routes] = partition(rest, entry => entry.startsWith('nftables: '))
    t.equal(tables.length, 1)
    t.match(tables[0], /^nftables: table inet tulle \{/)
    t.match(routes, [
      /^IPv4 routes: unreachable 10\.244\.0\.0\/24 proto 117/,
      /^IPv6 routes: unreachable fd00:10:244::\/64 .*proto 117/,
    ])
    t.equal(routes.length, 2)
    t.equal(removed.length, settings.length, 'the same settings, as they were')
  },
)

for (const cniVersion of VERSIONS) {
  t.test(`the life of a pod at ${cniVersion}`, async t => {
    await using node = await TulleNode.start({ cniVersion })
    const { runtime } = node
    await leavesNothing(t, node, async () => {
      t.match((await runtime.version()).json, { cniVersion, supportedVersions: VERSIONS })
      t.equal((await runtime.status()).exitCode, 0)
      await using netns = await Netns.create('pod')
      const attachment = newAttachment(netns)
      const added = await runtime.add(attachment)
      t.equal(added.json?.['cniVersion'], cniVersion, added.stdout)
      const addresses = addressesOf(added.json)
      t.equal(addresses.length, 2, 'IPv4 and IPv6')
      for (const address of addresses) t.type(await ping(node.netns, address), 'number', address)
      if (HAVE_CHECK.has(cniVersion)) t.equal((await runtime.check(attachment)).stdout, '')

      const again = await runtime.add(attachment)
      t.match(
        again.json,
        { cniVersion, code: 103, msg: /^eth0 in \/run\/netns\/\S+ exists already/ },
        'a second ADD fails',
      )
      for (const address of addresses) t.type(await ping(node.netns, address), 'number', 'and does no harm')
      if (HAVE_CHECK.has(cniVersion)) t.equal((await runtime.check(attachment)).stdout, '')
      t.equal((await node.leases()).length, 1)

      if (cniVersion === '1.1.0') {
        t.equal((await runtime.gc([attachment])).stdout, '')
        t.equal((await runtime.check(attachment)).stdout, '', 'a valid attachment survives GC')
      }
      for (const time of ['once', 'twice']) t.match(await runtime.del(attachment), { exitCode: 0, stdout: '' }, time)
    })
  })
}

t.test('CHECK names what is broken (K2, K3)', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    for (const { where, command, details } of BREAKAGES) {
      await using pod = await node.attach()
      await (where === 'pod' ? pod.netns : node.netns).run(command(pod))
      const checked = await node.runtime.check(pod.attachment)
      t.match(checked.json, { code: 106, details }, checked.stdout || command(pod).join(' '))
      await node.detach(pod)
    }
  })
})

interface Breakage {
  readonly where: 'pod' | 'node'
  readonly command: (pod: Pod) => readonly [string, ...string[]]
  /** Among all that CHECK lists. */
  readonly details: RegExp
}

const BREAKAGES: readonly Breakage[] = [
  { where: 'pod', command: () => ['ip', 'link', 'delete', 'eth0'], details: /^host: link tul\w+ is missing/ },
  { where: 'pod', command: () => ['ip', 'link', 'set', 'eth0', 'down'], details: /eth0 is down/ },
  { where: 'pod', command: () => ['ip', 'link', 'set', 'eth0', 'mtu', '1300'], details: /eth0 has an MTU of 1300/ },
  { where: 'pod', command: () => ['ip', 'link', 'set', 'lo', 'down'], details: /lo is down/ },
  {
    where: 'pod',
    command: pod => ['ip', 'address', 'delete', `${pod.ipv6}/128`, 'dev', 'eth0'],
    details: /eth0 has no address fd00:/,
  },
  {
    where: 'pod',
    command: () => ['ip', 'route', 'delete', 'default'],
    details: /route to 0\.0\.0\.0\/0 through eth0 is missing/,
  },
  {
    where: 'node',
    command: pod => ['ip', 'neighbour', 'delete', pod.ipv6, 'dev', pod.hostIfName],
    details: /neighbour fd00:\S+ on tul\w+ is missing/,
  },
  {
    where: 'node',
    command: pod => ['ip', 'neighbour', 'replace', pod.ipv4, 'lladdr', '02:00:5e:00:53:01', 'dev', pod.hostIfName],
    details: /neighbour 10\.244\.\S+ on tul\w+ is 02:00:5e:00:53:01/,
  },
  {
    where: 'node',
    command: pod => ['ip', 'address', 'delete', '169.254.1.1/32', 'dev', pod.hostIfName],
    details: /tul\w+ has no address 169\.254\.1\.1\/32/,
  },
  {
    where: 'pod',
    command: () => ['ip', 'neighbour', 'replace', 'fe80::1', 'lladdr', '02:00:5e:00:53:01', 'dev', 'eth0'],
    details: /neighbour fe80::1 on eth0 is 02:00:5e:00:53:01/,
  },
  {
    where: 'pod',
    command: () => ['ip', 'link', 'set', 'eth0', 'address', '02:00:5e:00:53:01'],
    details: /eth0 has the hardware address 02:00:5e:00:53:01/,
  },
  {
    where: 'node',
    command: pod => ['ip', 'route', 'delete', `${pod.ipv4}/32`],
    details: /route to 10\.244\.\S+ through tul\w+ is missing/,
  },
  { where: 'node', command: pod => ['ip', 'link', 'set', pod.hostIfName, 'down'], details: /tul\w+ is down/ },
  {
    where: 'node',
    command: pod => ['sysctl', '-w', `net/ipv6/conf/${pod.hostIfName}/accept_ra=1`],
    details: /accept_ra is 1/,
  },
]

t.test('DEL without ipamd spools the release, and ipamd frees the address when it is back (R13)', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    await node.stopIpamd()
    await node.detach(pod)
    t.notMatch(await node.netns.run(['ip', 'link']), pod.hostIfName, 'the interface is gone')
    t.equal((await spooledReleases()).length, 1)
    t.equal((await node.runtime.del(pod.attachment)).exitCode, 0, 'and again')
    t.equal((await spooledReleases()).length, 1, 'one release for one attachment')
    await node.startIpamd()
    t.same(await node.leases(), [])
    t.same(await readdir(join(RUN_FOLDER, 'spool')), [])
  })
})

t.test('ADD without ipamd fails with code 11, and once ipamd is back nothing is left', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    await node.stopIpamd()
    await using netns = await Netns.create('pod')
    const before = await snapshotOf(node.netns)
    const added = await node.runtime.add(newAttachment(netns))
    t.match(added.json, { code: 11, msg: /^ipamd at \/run\/tulle\/ipamd\.sock: nobody listens \(ENOENT\)/ })
    t.equal(await snapshotOf(node.netns), before, 'the network is as it was')
    t.same(await spooledReleases(), [], 'what was never asked for is not given back')
    await node.startIpamd()
  })
})

t.test('DEL leaves nothing, whatever it is not told (D2, E10)', async t => {
  await using node = await TulleNode.start()
  const ways: readonly { readonly name: string; readonly del: (pod: Pod) => Promise<unknown> }[] = [
    { name: 'an empty namespace path', del: pod => node.runtime.del({ ...pod.attachment, netnsPath: '' }) },
    { name: 'no prevResult', del: pod => node.runtime.del(pod.attachment, { isResultLost: true }) },
    {
      name: 'a namespace that has vanished',
      async del(pod) {
        await pod.netns.delete()
        return await node.runtime.del(pod.attachment)
      },
    },
    {
      name: 'an interface that has vanished',
      async del(pod) {
        await pod.netns.run(['ip', 'link', 'delete', 'eth0'])
        return await node.runtime.del(pod.attachment)
      },
    },
    {
      name: 'a container that never was',
      async del(pod) {
        await node.runtime.del(pod.attachment)
        return await node.runtime.del(newAttachment(pod.netns))
      },
    },
  ]
  for (const { name, del } of ways) {
    await t.test(`DEL with ${name}`, async t => {
      await leavesNothing(t, node, async () => {
        await using pod = await node.attach()
        t.match(await del(pod), { exitCode: 0, stdout: '' })
      })
    })
  }
})

t.test('DEL and ADD leave alone an interface of the same name that is not ours (R22)', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    await node.runtime.del(pod.attachment)
    await node.netns.run(['ip', 'link', 'add', pod.hostIfName, 'type', 'veth', 'peer', 'name', 'other'])
    const before = await node.snapshot()
    t.match((await node.runtime.add(pod.attachment)).json, { code: 103, msg: pod.hostIfName })
    t.equal((await node.runtime.del(pod.attachment)).exitCode, 0)
    t.equal(await node.snapshot(), before)
    await node.netns.run(['ip', 'link', 'delete', pod.hostIfName])
  })
})

t.test('GC frees what is not in cni.dev/valid-attachments, and only that (G1-G3, G7)', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    await using one = await node.attach()
    await using two = await node.attach()
    // Of this one the runtime has forgotten all, and the interface went with its namespace: the lease alone is left.
    await using gone = await node.attach()
    await gone.netns.delete()
    await until('the interface is gone', async () => {
      return !(await node.netns.run(['ip', 'link'])).includes(gone.hostIfName)
    })
    const foreign = newAttachment(await Netns.create('other'))
    t.equal((await callDirectly('ADD', foreign, { configuration: { name: 'other' } })).exitCode, 0)

    const before = await node.snapshot()
    for (const list of [{}, { 'cni.dev/valid-attachments': null }]) {
      t.match(await collect(one, list), { exitCode: 0, stdout: '' })
      t.equal(await node.snapshot(), before, `nothing is collected with ${JSON.stringify(list)} (G3)`)
    }
    t.match(await collect(one, { 'cni.dev/valid-attachments': [valid(one)] }), { exitCode: 0, stdout: '' })
    t.same(await leased(node), [foreign, one.attachment].map(({ containerId }) => containerId).toSorted())
    t.type(await ping(node.netns, one.ipv4), 'number', 'a valid one lives')
    t.equal(await ping(node.netns, two.ipv4), undefined, 'a stale one is gone')
    t.notMatch(await node.netns.run(['ip', 'link']), two.hostIfName)

    t.match(await collect(one, { 'cni.dev/valid-attachments': [] }), { exitCode: 0, stdout: '' })
    t.same(await leased(node), [foreign.containerId], 'with an empty list everything of this network is stale')
    t.equal((await callDirectly('CHECK', foreign, { configuration: { name: 'other' } })).json?.['code'], 7)
    t.equal((await callDirectly('DEL', foreign, { configuration: { name: 'other' } })).exitCode, 0)
    for (const { netns } of [one, two]) await netns.delete()
    await node.netns.run(['ip', 'netns', 'delete', foreign.netnsPath.replace('/run/netns/', '')])
  })
})

t.test('STATUS is 0 when an ADD would succeed, and 50 with the reason otherwise (S1-S3)', async t => {
  // Of a /30 the gateway, the network and the broadcast address are not for pods.
  await using node = await TulleNode.start({ prefixes: ['10.9.0.0/30'], isFresh: true })
  const before = await node.snapshot()
  t.match(await node.runtime.status(), { exitCode: 0, stdout: '' })
  await using pod = await node.attach()
  const exhausted = await node.runtime.status()
  t.match(exhausted.json, { code: 50, msg: /default/ }, exhausted.stdout)
  await using netns = await Netns.create('pod')
  const refused = newAttachment(netns)
  t.match((await node.runtime.add(refused)).json, { code: 101 })
  t.equal((await node.runtime.del(refused)).exitCode, 0)
  t.type(await ping(pod.netns, HOST_IPV4), 'number', 'the pod that has the address keeps it')
  await node.detach(pod)
  await until('the address may be used again', async () => (await node.runtime.status()).exitCode === 0)
  await node.stopIpamd()
  t.match((await node.runtime.status()).json, { code: 50, msg: /^ipamd at \/run\/tulle\/ipamd\.sock: / })
  await node.startIpamd()
  await netns.delete()
  await node.netns.run(['ip', 'route', 'delete', 'unreachable', '10.9.0.0/30'])
  t.equal(await node.snapshot(), before)
})

t.test('50 ADDs at once and 50 DELs at once succeed, with distinct addresses (A10)', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    const namespaces = await Promise.all(Array.from({ length: 50 }, () => Netns.create('pod')))
    const attachments = namespaces.map(netns => newAttachment(netns))
    const added = await Promise.all(attachments.map(attachment => node.runtime.add(attachment)))
    t.same(
      added.filter(({ exitCode }) => exitCode !== 0).map(({ stdout }) => stdout),
      [],
    )
    const addresses = added.flatMap(({ json }) => addressesOf(json))
    t.equal(new Set(addresses).size, 100)
    const ends = [addresses[0], addresses.at(-1)]
    for (const address of ends) t.type(await ping(node.netns, String(address)), 'number')
    const deleted = await Promise.all(attachments.map(attachment => node.runtime.del(attachment)))
    t.same(
      deleted.filter(({ exitCode }) => exitCode !== 0).map(({ stdout }) => stdout),
      [],
    )
    await Promise.all(namespaces.map(netns => netns.delete()))
  })
})

t.test('ADD and DEL of one attachment at once: one after the other, and a last DEL leaves nothing', async t => {
  await using node = await TulleNode.start()
  await leavesNothing(t, node, async () => {
    await using netns = await Netns.create('pod')
    const attachment = newAttachment(netns)
    const adds = await Promise.all(Array.from({ length: 5 }, () => node.runtime.add(attachment)))
    t.equal(adds.filter(({ exitCode }) => exitCode === 0).length, 1, 'one ADD wins')
    await assertWorks(t, node, attachment)
    await Promise.all([node.runtime.add(attachment), node.runtime.del(attachment), node.runtime.add(attachment)])
    t.equal((await node.runtime.del(attachment)).exitCode, 0)
  })
})

async function assertWorks(
  t: Pick<Test, 'equal' | 'type'>,
  node: TulleNode,
  attachment: RuntimeAttachment,
): Promise<void> {
  t.equal((await node.runtime.check(attachment)).stdout, '')
  for (const address of addressesOf(node.runtime.resultOf(attachment))) {
    t.type(await ping(node.netns, address), 'number')
  }
}

/** GC as a runtime sends it that remembers no container itself. */
async function collect({ attachment }: Pod, list: JsonObject): ReturnType<typeof callDirectly> {
  return await callDirectly(
    'GC',
    { ...attachment, containerId: '', netnsPath: '', ifName: '' },
    { configuration: list },
  )
}

function valid({ attachment }: Pod): JsonObject {
  return { containerID: attachment.containerId, ifname: attachment.ifName }
}

async function leased(node: TulleNode): Promise<readonly string[]> {
  const leases = await node.leases()
  return leases.map(lease => String(asObject(lease['attachment'], 'attachment')['containerId'])).toSorted()
}

function partition<T>(items: readonly T[], isFirst: (item: T) => boolean): [readonly T[], readonly T[]] {
  return [items.filter(isFirst), items.filter(item => !isFirst(item))]
}

/** The releases that wait. Notes of calls that were done without ipamd are there too. */
async function spooledReleases(): Promise<readonly string[]> {
  return (await readdir(join(RUN_FOLDER, 'spool'))).filter(name => name.endsWith('.json'))
}

import './harness/isolated.ts'
import t, { type Test } from 'tap'
import { nodeObject } from '../kube/api-server.ts'
import { addressesOfPlan, Cluster, type ClusterNode, type NodePlan } from './harness/cluster.ts'
import { ping } from './harness/reach.ts'
import { until } from './harness/until.ts'

// Pods of different nodes reach each other, on the real kernel, with the built executables.

const A = plan('a', { network: 0, host: 1 })
const B = plan('b', { network: 0, host: 2 })
const C = plan('c', { network: 1, host: 3 })

/** What the network between nodes adds to a packet in VXLAN over IPv4. */
const OVERHEAD_BYTES = 50
/**
 * By when a change behind the agent's back has to be mended: before the look that is taken every half minute without a reason, so
 * that it is the kernel's word that counts.
 */
const REPAIR_MS = 10_000

function plan(name: string, at: { readonly network: number; readonly host: number }): NodePlan {
  return { name, ...at, podCidrs: [`10.244.${at.host}.0/24`, `fd00:10:244:${at.host}::/64`] }
}

async function joined(cluster: Cluster, plans: readonly NodePlan[]): Promise<readonly ClusterNode[]> {
  const nodes: ClusterNode[] = []
  for (const each of plans) nodes.push(await cluster.add(each))
  for (const node of nodes) {
    await node.untilReady()
    await node.agent.until(
      `${node.plan.name} has all routes`,
      async () => (await node.routes()).length === plans.length - 1,
    )
  }
  return nodes
}

async function reachEachOther(t: Test, nodes: readonly ClusterNode[]): Promise<void> {
  const pods = await Promise.all(nodes.map(node => node.attach()))
  for (const [i, from] of pods.entries()) {
    for (const [j, to] of pods.entries()) {
      if (i === j) continue
      const names = `${nodes[i]?.plan.name} to ${nodes[j]?.plan.name}`
      t.type(await ping(from.netns, to.ipv4, 5), 'number', `IPv4, pod to pod, ${names}`)
      t.type(await ping(from.netns, to.ipv6, 5), 'number', `IPv6, pod to pod, ${names}`)
      const host = nodes[i]?.netns
      if (host === undefined) throw new Error('no node')
      t.type(await ping(host, to.ipv4, 5), 'number', `IPv4, node to pod, ${names}`)
      t.type(await ping(host, to.ipv6, 5), 'number', `IPv6, node to pod, ${names}`)
    }
  }
}

t.test('direct: pods of nodes on one link reach each other, in both families', async t => {
  await using cluster = await Cluster.start({ agent: { routing: { mode: 'direct' } } })
  const [a, b] = await joined(cluster, [A, B])
  if (a === undefined || b === undefined) throw new Error('no nodes')
  t.strictSame(await a.routes(), ['10.244.2.0/24 via 192.0.2.2 dev eth0 metric 1180'])
  t.strictSame(await a.routes('-6'), ['fd00:10:244:2::/64 via 2001:db8::2 dev eth0 metric 1180 pref medium'])
  await reachEachOther(t, [a, b])
  await until('the cluster knows that a is ready', () =>
    JSON.stringify(cluster.api.get('a')).includes('"type":"NetworkUnavailable","status":"False"'),
  )

  await t.test('a node that leaves loses its route; one that comes gets one (R28)', async t => {
    cluster.api.delete('b')
    await until('the route is gone', async () => (await a.routes()).length === 0, 5_000)
    const startedAtMs = performance.now()
    cluster.register(B)
    await until('the route is back', async () => (await a.routes()).length === 1, 5_000)
    t.pass(`back after ${Math.round(performance.now() - startedAtMs)} ms`)
  })

  await t.test('a route that somebody deletes or changes is repaired', async t => {
    for (const command of [
      'delete 10.244.2.0/24 proto 118',
      'replace 10.244.2.0/24 via 192.0.2.9 proto 118 metric 1180',
    ]) {
      const startedAtMs = performance.now()
      await a.netns.run(['ip', 'route', ...command.split(' ')] as [string, ...string[]])
      await until('it is as it was', async () => (await a.routes())[0]?.includes('via 192.0.2.2 ') === true, REPAIR_MS)
      t.pass(`${command}: repaired after ${Math.round(performance.now() - startedAtMs)} ms`)
    }
  })

  await t.test('routes of others stay, and one that goes before ours is named', async t => {
    await a.netns.run(['ip', 'route', 'add', '10.244.2.0/24', 'via', '192.0.2.2', 'proto', 'static'])
    const hops = ['nexthop', 'via', '192.0.2.8', 'nexthop', 'via', '192.0.2.9'] as const
    await a.netns.run(['ip', 'route', 'add', '10.99.0.0/24', 'proto', 'static', ...hops])
    await until('it is named', async () => (await a.ask('/status')).body.includes('goes before ours'), 45_000)
    t.match(
      await a.netns.run(['ip', 'route', 'show', 'proto', 'static']),
      /10\.99\.0\.0\/24[^]*nexthop via 192\.0\.2\.9/,
    )
    await a.netns.run(['ip', 'route', 'delete', '10.244.2.0/24', 'proto', 'static'])
  })

  await t.test('while the API server is away everything works, and repairs go on', async t => {
    await cluster.api.goAway()
    await a.netns.run(['ip', 'route', 'delete', '10.244.2.0/24', 'proto', '118'])
    await until('the route is back', async () => (await a.routes()).length === 1, REPAIR_MS)
    await a.agent.until('it is known to be away', async () => (await a.ask('/status')).body.includes('"isAway": true'))
    t.equal((await a.ask('/readyz')).status, 200, 'still ready')
    cluster.api.delete('b')
    await cluster.api.comeBack()
    await a.agent.until('it caught up', async () => (await a.routes()).length === 0)
    cluster.register(B)
    await a.agent.until('and again', async () => (await a.routes()).length === 1)
  })

  await t.test('what happened while the agent was down is made good at its start (R28)', async t => {
    await a.stopAgent('SIGKILL')
    t.equal((await a.routes()).length, 1, 'routes stay without an agent')
    await a.netns.run(['ip', 'route', 'add', '10.244.77.0/24', 'via', '192.0.2.7', 'proto', '118', 'metric', '1180'])
    cluster.api.delete('b')
    await a.startAgent(cluster.agentConfig(A))
    await a.agent.until('stale routes are gone', async () => (await a.routes()).length === 0)
    cluster.register(B)
    await a.agent.until('the route is back', async () => (await a.routes()).length === 1)
    t.pass('stale routes go, new ones come')
  })

  await t.test('the address of a node changes (R36)', async t => {
    await b.netns.run(['ip', 'address', 'add', '192.0.2.22/24', 'dev', 'eth0'])
    cluster.register({ ...B, host: 22 })
    await until('the route goes there', async () => (await a.routes())[0]?.includes('via 192.0.2.22 ') === true, 5_000)
    t.equal((await a.routes()).length, 1)
    cluster.register(B)
    await until('and back', async () => (await a.routes())[0]?.includes('via 192.0.2.2 ') === true, 5_000)
  })

  await t.test('a pod CIDR that overlaps an older one gets no route, and the reason is told (R30)', async t => {
    const thief: NodePlan = { ...plan('d', { network: 0, host: 4 }), podCidrs: ['10.244.2.128/25'] }
    cluster.api.put({
      metadata: { name: 'd', uid: 'uid-d', creationTimestamp: '2026-02-01T00:00:00Z' },
      spec: { podCIDRs: thief.podCidrs },
      status: { addresses: [{ type: 'InternalIP', address: addressesOfPlan(thief)[0] }] },
    })
    await a.agent.until('it is told', async () =>
      (await a.ask('/status')).body.includes('overlaps 10.244.2.0/24 of the older node b'),
    )
    t.equal((await a.routes()).length, 1)
    cluster.api.delete('d')
  })

  await t.test('metrics of both daemons come from one port', async t => {
    const { status, body } = await a.ask('/metrics')
    t.equal(status, 200)
    t.match(body, /^tulle_agent_routes\{by="direct"\} 2$/m)
    t.match(body, /^tulle_ipamd_leases\{pool="default"\} 1$/m)
    t.equal((await a.ask('/healthz')).status, 200)
    await a.stopIpamd()
    t.match((await a.ask('/metrics')).body, /^tulle_agent_ipamd_up 0$/m)
    await a.startIpamd()
  })

  await t.test('an exhausted pool is a condition of the node and an event (R32)', async t => {
    cluster.api.put(nodeObject('b', { podCidrs: ['10.244.200.0/30'], ips: [...addressesOfPlan(B)] }))
    await b.agent.until('ipamd has the small block', async () =>
      (await b.ask('/status')).body.includes('"10.244.200.0/30"'),
    )
    await b.untilReady()
    for (let pods = 0; pods < 2; pods++) await b.attach().catch(() => undefined)
    await until(
      'the cluster knows',
      () => JSON.stringify(cluster.api.get('b')).includes('"type":"TulleAddressesExhausted","status":"True"'),
      60_000,
    )
    await b.agent.until('an event says so', () =>
      JSON.stringify(cluster.api.list('/api/v1/namespaces/default/events')).includes('NoFreeAddress'),
    )
    t.pass('told')
    cluster.register(B)
  })

  await t.test('what keeps forwarded packets back is told by name, with the cure', async t => {
    await a.netns.run(['nft', 'add', 'table', 'ip', 'filter'])
    await a.netns.run(['nft', 'add', 'chain', 'ip', 'filter', 'DOCKER-USER'])
    const hook = '{ type filter hook forward priority 0; policy drop; }'
    await a.netns.run(['nft', `add chain ip filter FORWARD ${hook}`])
    await a.stopAgent()
    await a.startAgent(cluster.agentConfig(A))
    await a.agent.until('it is told', async () => (await a.ask('/status')).body.includes('docker-forward-drop'))
    t.match((await a.ask('/status')).body, /ip-forward-no-drop/)
    await until('the cluster knows', () => JSON.stringify(cluster.api.get('a')).includes('DockerForwardDrop'))
    await a.netns.run(['nft', 'delete', 'table', 'ip', 'filter'])
    await a.untilReady()
  })

  await t.test('masquerade is told where the cluster is, before the first pod that wants it', async t => {
    const list = ['nft', 'list', 'set', 'inet', 'tulle', 'cluster-4'] as const
    const set = async (): Promise<string> => (await a.netns.execute(list)).stdout
    t.match(await set(), /10\.244\.2\.0\/24/, 'a node that is ready has it: no pod has begun a connection before')
    t.match(await set(), /192\.0\.2\.2/, 'nodes too')
    await a.attach({ ipMasq: true })
    t.match(await set(), /10\.244\.2\.0\/24/, 'the rules of the pod leave it as it is')
    await a.netns.run(['nft', 'flush', 'ruleset'])
    await until('it is told again', async () => (await set()).includes('10.244.2.0/24'), REPAIR_MS)
    cluster.api.put(nodeObject('e', { podCidrs: ['10.244.5.0/24'], ips: ['192.0.2.5'] }))
    await until('a new node is in it', async () => (await set()).includes('10.244.5.0/24'), 10_000)
    cluster.api.delete('e')
    await until('and goes', async () => !(await set()).includes('10.244.5.0/24'), 10_000)
  })

  await t.test('it ends in order, and leaves the routes', async t => {
    const startedAtMs = performance.now()
    await a.stopAgent()
    t.ok(performance.now() - startedAtMs < 10_000)
    t.equal((await a.routes()).length, 1)
  })
})

t.test('auto: direct on one link, VXLAN across a router, in both families', async t => {
  await using cluster = await Cluster.start()
  const nodes = await joined(cluster, [A, B, C])
  const [a, b, c] = nodes
  if (a === undefined || b === undefined || c === undefined) throw new Error('no nodes')
  t.strictSame(await a.routes(), [
    '10.244.2.0/24 via 192.0.2.2 dev eth0 metric 1180',
    '10.244.3.0/24 via 10.244.3.0 dev vx-tulle metric 1180 onlink',
  ])
  await reachEachOther(t, nodes)
  t.notMatch(await a.netns.run(['bridge', 'fdb', 'show', 'dev', 'vx-tulle']), /00:00:00:00:00:00/, 'nothing is flooded')

  await t.test('the MTU follows that of the device below (R27)', async t => {
    const mtuOf = async (): Promise<string> =>
      / mtu (\d+) /.exec(await a.netns.run(['ip', '-o', 'link', 'show', 'dev', 'vx-tulle']))?.[1] ?? ''
    t.equal(await mtuOf(), String(1500 - OVERHEAD_BYTES))
    const pod = await a.attach()
    t.match(await pod.netns.run(['ip', 'link', 'show', 'eth0']), / mtu 1450 /, 'a pod gets what fits')
    const far = await c.attach()
    const large = ['ping', '-n', '-c', '1', '-W', '2', '-M', 'do', '-s', '1422', far.ipv4] as const
    t.equal((await pod.netns.execute(large)).exitCode, 0, 'the largest packet arrives whole')
    await a.netns.run(['ip', 'link', 'set', 'eth0', 'mtu', '1400'])
    await until('it has followed', async () => (await mtuOf()) === String(1400 - OVERHEAD_BYTES), REPAIR_MS)
    await a.netns.run(['ip', 'link', 'set', 'eth0', 'mtu', '1500'])
    await until('and back', async () => (await mtuOf()) === String(1500 - OVERHEAD_BYTES), REPAIR_MS)
  })

  await t.test('a deleted device, entry or neighbour is repaired', async t => {
    const before = await overlayOf(a)
    for (const command of [
      'ip link delete vx-tulle',
      'ip neighbour delete 10.244.3.0 dev vx-tulle',
      'ip route delete 10.244.3.0/24',
      'ip link set vx-tulle down',
    ]) {
      await a.netns.run(command.split(' ') as [string, ...string[]])
      await until(`as before: ${command}`, async () => (await overlayOf(a)) === before, REPAIR_MS)
    }
    t.pass('all repaired')
  })

  await t.test('direct ↔ VXLAN: the mode changes and pods still reach each other', async t => {
    for (const mode of ['vxlan', 'auto'] as const) {
      for (const node of [a, b, c]) {
        await node.stopAgent()
        await node.startAgent(cluster.agentConfig(node.plan, { routing: { mode } }))
      }
      const far = mode === 'vxlan' ? 2 : 1
      for (const node of [a, b]) {
        await node.agent.until(
          `${node.plan.name} has ${far} routes over the overlay`,
          async () => (await node.routes()).filter(route => route.includes('vx-tulle')).length === far,
        )
        await node.untilReady()
      }
      await reachEachOther(t, [a, b])
    }
  })

  await t.test('the device goes when nobody needs it', async t => {
    cluster.api.delete('c')
    await until('it is gone', async () => (await a.netns.execute(['ip', 'link', 'show', 'vx-tulle'])).exitCode !== 0)
    t.equal((await a.routes()).length, 1)
  })
})

/** What hangs on a node's VXLAN device. */
async function overlayOf(node: ClusterNode): Promise<string> {
  const parts = await Promise.all(
    (
      [
        ['ip', '-o', 'address', 'show', 'dev', 'vx-tulle'],
        ['ip', 'neighbour', 'show', 'dev', 'vx-tulle'],
        ['bridge', 'fdb', 'show', 'dev', 'vx-tulle'],
        ['ip', 'route', 'show', 'dev', 'vx-tulle'],
      ] as const
    ).map(async command => (await node.netns.execute(command)).stdout.split('\n').toSorted().join('\n')),
  )
  // The index of the device is another one when it was made anew.
  return parts.join('\n').replace(/^\d+: /gm, '')
}

import t from 'tap'
import { hostIfNameOf } from '../plan/link-names.ts'
import { renderElement } from '../plan/nft-set.ts'
import { renderPlan } from '../plan/render.ts'
import { FakeNode, operationsIn, POD_PATH, type FakeOutcome, type FakeRun } from './fake-edges.ts'

// hostPorts and masquerade: elements of sets, with their owner, that come with ADD and go with DEL.

const HOST_IF_NAME = hostIfNameOf({ network: 'net1', containerId: 'c1', ifName: 'eth0' })

type Port = Readonly<Record<string, unknown>>
const tcp = (hostPort: number, more: Port = {}): Port => ({ hostPort, containerPort: 80, protocol: 'tcp', ...more })
const ports = (...portMappings: readonly Port[]): FakeRun => ({ config: { runtimeConfig: { portMappings } } })

/** ADD of a container with a namespace of its own. */
function add(node: FakeNode, containerId: string, run: FakeRun = {}): Promise<FakeOutcome> {
  const netns = `/run/netns/${containerId}`
  if (!node.pods.has(netns)) node.addPod(netns)
  return node.run('ADD', { containerId, netns, ...run })
}

function elements(node: FakeNode): readonly string[] {
  return [...node.host.sets].flatMap(([name, held]) =>
    [...held.values()].map(element => `${name} ${renderElement(element)}`),
  )
}

t.test('add() exposes a pod after it is wired, in one transaction, and before it says that it ended', async t => {
  const node = new FakeNode()
  t.equal((await node.run('ADD', ports(tcp(8080), { ...tcp(53), protocol: 'udp' }))).exitCode, 0)
  const text = renderPlan(operationsIn(node.steps)).split('\n')
  const at = text.findIndex(line => line.includes('add element'))
  t.ok(at > text.findIndex(line => line.includes(`ip route add 10.244.1.2/32 dev ${HOST_IF_NAME}`)))
  t.match(text[at + 1], /conntrack -D .*--orig-port-dst 53/, 'then stale UDP flows are forgotten (R19)')
  t.match(text[at + 2], /alias 'tulle\/1 eth0 c1 net1'/)
  t.equal(text.filter(line => line.includes('element')).length, 1)
  t.equal(node.host.sysctls.get(`net/ipv4/conf/${HOST_IF_NAME}/route_localnet`), '1')
  t.same([...node.exposures.keys()], ['net1/c1/eth0'], 'kept for repair')
})

t.test('add() without ports and masquerade asks nftables for nothing more than before', async t => {
  const node = new FakeNode()
  t.equal((await node.run('ADD')).exitCode, 0)
  t.equal(node.host.sets.size, 0)
  t.same([...node.host.chains.keys()], ['from-pods'])
  t.equal(node.host.sysctls.get(`net/ipv4/conf/${HOST_IF_NAME}/route_localnet`), '0')
  t.same([...node.exposures.keys()], [])
})

t.test(
  'del() removes all of it, without prevResult, ports or namespace, and from a node that lost its table',
  async t => {
    for (const flush of [false, true]) {
      const node = new FakeNode()
      const before = node.render()
      await node.run('ADD', {
        ...ports(tcp(8080), { ...tcp(53), protocol: 'udp' }),
        config: { ...ports(tcp(8080), { ...tcp(53), protocol: 'udp' }).config, ipMasq: true },
      })
      t.not(node.render(), before)
      if (flush) node.host.flushTables()
      const forgotten = node.host.forgotten.length
      t.equal((await node.run('DEL', { netns: '' })).stdout, '')
      t.equal(node.render(), before)
      t.equal(node.host.forgotten.length > forgotten, !flush, 'UDP flows to the pod are forgotten (R19)')
      t.equal((await node.run('DEL', { netns: '' })).stdout, '', 'again')
    }
  },
)

t.test('del() keeps the address while a port leads to it (invariant 2)', async t => {
  const node = new FakeNode()
  await node.run('ADD', ports(tcp(8080)))
  node.fault = step =>
    typeof step !== 'string' && step.do === 'delete-elements' ? { errno: 'EBUSY', how: 'refused' } : undefined
  t.match((await node.run('DEL')).json, {
    code: 105,
    msg: /^the ports of c1\/eth0 are not removed, its address is kept: .*delete element/,
  })
  t.equal(node.ipam.leases.size, 1)
  t.not(node.host.link(HOST_IF_NAME), undefined, 'nor is the interface touched')
  node.fault = () => undefined
  t.equal((await node.run('DEL')).exitCode, 0)
  t.equal(node.ipam.leases.size, 0)
})

const conflicts = [
  {
    name: 'the same port',
    first: tcp(8080),
    second: tcp(8080),
    says: /^hostPort 8080\/tcp is taken: net1\/one\/eth0 has hostports-4 \{ tcp \. 8080 : 10\.244\.1\.2 \. 80 \}$/,
  },
  {
    name: 'one address of a port that is taken at any',
    first: tcp(8080),
    second: tcp(8080, { hostIP: '192.0.2.1' }),
    says: /^hostPort 8080\/tcp at 192\.0\.2\.1 is taken: net1\/one\/eth0 has hostports-4/,
  },
  {
    name: 'any address of a port that is taken at one',
    first: tcp(8080, { hostIP: '192.0.2.1' }),
    second: tcp(8080),
    says: /^hostPort 8080\/tcp is taken: net1\/one\/eth0 has hostports-at-4/,
  },
  {
    name: 'the same port at one address',
    first: tcp(8080, { hostIP: '2001:db8::1' }),
    second: tcp(8080, { hostIP: '2001:db8::1' }),
    says: /^hostPort 8080\/tcp at 2001:db8::1 is taken: net1\/one\/eth0/,
  },
] as const

for (const { name, first, second, says } of conflicts) {
  t.test(`add() refuses ${name}, names the holder, and leaves nothing`, async t => {
    const node = new FakeNode()
    node.addPod('/run/netns/two')
    t.equal((await add(node, 'one', ports(first))).exitCode, 0)
    const before = node.render()
    t.match((await add(node, 'two', ports(tcp(1), second))).json, { code: 107, msg: says })
    t.equal(node.render(), before)
    t.equal(node.openHandles, 0)
    t.equal((await node.run('DEL', { containerId: 'one' })).exitCode, 0)
    t.equal((await add(node, 'two', ports(tcp(1), second))).exitCode, 0, 'and gets it when it is free')
  })
}

const compatible = [
  { name: 'another protocol', first: tcp(8080), second: { ...tcp(8080), protocol: 'udp' } },
  { name: 'another address', first: tcp(8080, { hostIP: '192.0.2.1' }), second: tcp(8080, { hostIP: '192.0.2.2' }) },
  { name: 'another family', first: tcp(8080, { hostIP: '0.0.0.0' }), second: tcp(8080, { hostIP: '::' }) },
] as const

for (const { name, first, second } of compatible) {
  t.test(`add() lets two pods have one port with ${name}`, async t => {
    const node = new FakeNode()
    t.equal((await add(node, 'one', ports(first))).exitCode, 0)
    t.equal((await add(node, 'two', ports(second))).exitCode, 0)
  })
}

t.test(
  'add() takes over what a pod without an interface left behind, but not from one that has its interface',
  async t => {
    const node = new FakeNode()
    t.equal((await add(node, 'one', ports(tcp(8080)))).exitCode, 0)
    node.removePod('/run/netns/one')
    t.equal((await add(node, 'two', ports(tcp(8080)))).exitCode, 0)
    t.ok(
      node.log.some(line => line === 'elements of net1/one/eth0 removed: its interface is gone'),
      node.log.join('\n'),
    )
    t.same([...node.exposures.keys()], ['net1/two/eth0'])
    t.equal((await node.run('DEL', { containerId: 'one', netns: '' })).exitCode, 0)
    t.equal(
      elements(node).filter(text => text.startsWith('hostports-4')).length,
      1,
      "DEL of the first leaves the second's",
    )
  },
)

t.test('add() tries again when whoever had its port is gone by the time that it looks', async t => {
  const node = new FakeNode()
  await add(node, 'one', ports(tcp(8080)))
  node.removePod('/run/netns/one')
  let looks = 0
  node.fault = step => {
    // The first look is for what this attachment has itself; the second follows the refusal.
    if (step === 'observeElements' && ++looks === 2) for (const held of node.host.sets.values()) held.clear()
    return undefined
  }
  t.equal((await add(node, 'two', ports(tcp(8080)))).exitCode, 0)
  t.equal(elements(node).filter(text => text.startsWith('hostports-4')).length, 1)
  t.ok(looks >= 2)
})

t.test('add() says of a mapping that cannot be used that it leads nowhere', async t => {
  const node = new FakeNode()
  node.ipam.families = [6]
  t.equal((await node.run('ADD', ports(tcp(8080, { hostIP: '192.0.2.1' })))).exitCode, 0)
  t.ok(node.log.includes('hostPort 192.0.2.1:8080/tcp leads nowhere: the pod has no address of that family'))
})

t.test('add() refuses bad mappings before it makes anything (C7)', async t => {
  const node = new FakeNode()
  t.match((await node.run('ADD', ports(tcp(0)))).json, { code: 7, msg: /runtimeConfig\.portMappings\[0\]\.hostPort 0/ })
  t.same([node.steps, node.events], [[], []])
  t.equal((await node.run('DEL', ports(tcp(0)))).exitCode, 0, 'which do not bother DEL (D6)')
})

t.test('the last DEL removes the reference to the chain of a network, and no other does (R20)', async t => {
  const node = new FakeNode()
  const masq = (name: string, more: object = {}): FakeRun => ({ config: { name, ipMasq: true, ...more } })
  await add(node, 'one', masq('net1'))
  await add(node, 'two', masq('net1'))
  await add(node, 'other', masq('net2', { nonMasqueradeCIDRs: ['10.0.0.0/8'] }))
  await add(node, 'plain')
  const chainsOf = () =>
    elements(node)
      .filter(text => text.startsWith('masquerade-4'))
      .map(text => text.replace(/.* jump /, ''))
  const [first, second, third, ...more] = chainsOf()
  t.same([first === second, second === third, more], [true, false, []], 'two networks, two chains')
  await node.run('DEL', { containerId: 'one', netns: '' })
  t.same(chainsOf(), [second, third])
  await node.run('DEL', { containerId: 'two', netns: '' })
  t.same(chainsOf(), [third])
})

t.test(
  'gc() removes what attachments left behind that have no interface any more, of its network alone (G1, G7)',
  async t => {
    const node = new FakeNode()
    for (const [id, name, port] of [
      ['a', 'net1', 1],
      ['b', 'net1', 2],
      ['x', 'net2', 3],
    ] as const) {
      await add(node, id, { config: { ...ports(tcp(port)).config, name } })
      node.removePod(`/run/netns/${id}`)
    }
    const valid = { 'cni.dev/valid-attachments': [{ containerID: 'b', ifname: 'eth0' }] }
    t.equal((await node.run('GC', { netns: POD_PATH, config: valid })).stdout, '')
    t.same(
      elements(node)
        .filter(text => text.startsWith('hostports-4'))
        .map(text => text.slice(12, 19)),
      ['tcp . 2', 'tcp . 3'],
    )
  },
)

t.test('add() again after an ADD that was killed removes what that one had, even with other ports', async t => {
  const node = new FakeNode()
  let isKilled = false
  node.fault = step => {
    if (typeof step !== 'string' && step.do === 'set-link' && step.alias === 'tulle/1 eth0 c1 net1') isKilled = true
    return isKilled ? { errno: 'EPIPE', how: 'refused' } : undefined
  }
  await node.run('ADD', ports(tcp(8080)))
  t.ok(elements(node).length > 0, 'elements are left')
  node.fault = () => undefined
  t.equal((await node.run('ADD', ports(tcp(9090)))).exitCode, 0)
  t.same(
    elements(node).filter(text => text.startsWith('hostports-4')),
    ['hostports-4 tcp . 9090 : 10.244.1.2 . 80'],
  )
})

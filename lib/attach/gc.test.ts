import t from 'tap'
import { hostIfNameOf } from '../plan/link-names.ts'
import { FakeNode } from './fake-edges.ts'

const SPEC_KEY = 'cni.dev/valid-attachments'
const LEGACY_KEY = 'cni.dev/attachments'

/** A node with three attachments of net1 and one of net2. */
async function populated(): Promise<FakeNode> {
  const node = new FakeNode()
  for (const [containerId, name] of [
    ['a', 'net1'],
    ['b', 'net1'],
    ['c', 'net1'],
    ['x', 'net2'],
  ] as const) {
    const netns = `/run/netns/${containerId}`
    node.addPod(netns)
    const { exitCode, stdout } = await node.run('ADD', { containerId, netns, config: { name } })
    if (exitCode !== 0) throw new Error(stdout)
  }
  return node
}

/** The container IDs of those that have an interface, and of those that have a lease. */
function alive(node: FakeNode): { readonly interfaces: string; readonly leases: string } {
  const owners = node.host.links.flatMap(link => (link.alias === undefined ? [] : [link.alias.split(' ')[2] ?? '']))
  return {
    interfaces: owners.toSorted().join(''),
    leases: [...node.ipam.leases.keys()]
      .map(key => key.split('/')[1] ?? '')
      .toSorted()
      .join(''),
  }
}

const listOf = (containers: string) => containers.split('').map(containerID => ({ containerID, ifname: 'eth0' }))

const CASES = [
  { name: 'does nothing without a list (G3)', config: {}, left: 'abcx' },
  { name: 'does nothing with null for a list (G3)', config: { [SPEC_KEY]: null }, left: 'abcx' },
  {
    name: 'takes all of its network with an empty list, and nothing of another (G1, G7)',
    config: { [SPEC_KEY]: [] },
    left: 'x',
  },
  { name: 'keeps what the list names (G1)', config: { [SPEC_KEY]: listOf('b') }, left: 'bx' },
  { name: 'takes the list of older runtimes (G2)', config: { [LEGACY_KEY]: listOf('ac') }, left: 'acx' },
  {
    name: 'keeps what either list names (G2)',
    config: { [SPEC_KEY]: listOf('a'), [LEGACY_KEY]: listOf('b') },
    left: 'abx',
  },
  {
    name: 'knows attachments by interface too',
    config: { [SPEC_KEY]: [{ containerID: 'a', ifname: 'net1' }] },
    left: 'x',
  },
  { name: 'ignores what it does not know', config: { [SPEC_KEY]: listOf('abcz') }, left: 'abcx' },
  { name: 'touches nothing of a network that has nothing', config: { name: 'net3', [SPEC_KEY]: [] }, left: 'abcx' },
] as const
for (const { name, config, left } of CASES) {
  t.test(`gc() ${name}`, async t => {
    const node = await populated()
    const { exitCode, stdout } = await node.run('GC', { config })
    t.same([exitCode, stdout], [0, ''], 'no output (G6)')
    t.same(alive(node), { interfaces: left, leases: left })
    t.equal(node.openHandles, 0)
  })
}

t.test('gc() removes what an ADD left that was killed, once its owner can be read', async t => {
  const node = await populated()
  const link = node.host.link(hostIfNameOf({ network: 'net1', containerId: 'a', ifName: 'eth0' }))
  if (link !== undefined) link.alias = 'tulle/1 adding eth0 a net1'
  await node.run('GC', { config: { [SPEC_KEY]: listOf('b') } })
  t.equal(node.host.links.includes(link as never), false)
})

t.test('gc() leaves links alone that carry no mark of ours (invariant 4)', async t => {
  const node = await populated()
  const link = node.host.link(hostIfNameOf({ network: 'net1', containerId: 'a', ifName: 'eth0' }))
  if (link !== undefined) link.alias = 'somebody else'
  await node.run('GC', { config: { [SPEC_KEY]: [] } })
  t.equal(node.host.links.includes(link as never), true)
})

for (const refused of ['a', 'ab', 'abc']) {
  t.test(
    `gc() keeps the lease of what does not go, goes on, and reports all of it: ${refused} (G4, invariant 2)`,
    async t => {
      const node = await populated()
      const names = refused.split('').map(containerId => hostIfNameOf({ network: 'net1', containerId, ifName: 'eth0' }))
      node.fault = step => {
        const isRefused = typeof step !== 'string' && step.do === 'delete-link' && names.includes(step.link)
        return isRefused ? { errno: 'EBUSY', how: 'refused' } : undefined
      }
      const { json } = await node.run('GC', { config: { [SPEC_KEY]: [] } })
      t.match(json, {
        code: 105,
        msg: refused.length === 1 ? /EBUSY$/ : new RegExp(`\\(and ${refused.length - 1} more\\)$`),
      })
      for (const name of names) t.match(`${String(json?.['msg'])} ${String(json?.['details'])}`, name)
      t.same(alive(node), { interfaces: `${refused}x`, leases: `${refused}x` })
      t.equal(node.openHandles, 0)
    },
  )
}

t.test('gc() keeps the lease of what somebody else works on', async t => {
  const node = await populated()
  node.lockedElsewhere.add('net1/b/eth0')
  t.match((await node.run('GC', { config: { [SPEC_KEY]: [] } })).json, { code: 11 })
  t.same(alive(node), { interfaces: 'bx', leases: 'bx' })
})

t.test('gc() removes interfaces also while ipamd is down, and reports that (G4)', async t => {
  const node = await populated()
  node.ipam.state = 'down'
  t.match((await node.run('GC', { config: { [SPEC_KEY]: [] } })).json, { code: 11, msg: /ECONNREFUSED/ })
  t.same(alive(node), { interfaces: 'x', leases: 'abcx' })
})

t.test('gc() frees nothing when it cannot see the interfaces (invariant 2)', async t => {
  const node = await populated()
  node.fault = step => (step === 'observeOwnLinks' ? { errno: 'EINTR', how: 'refused' } : undefined)
  t.match((await node.run('GC', { config: { [SPEC_KEY]: [] } })).json, { code: 102 })
  t.same(alive(node), { interfaces: 'abcx', leases: 'abcx' })
})

t.test('gc() is refused before 1.1.0', async t => {
  const node = await populated()
  const { json } = await node.run('GC', { config: { cniVersion: '1.0.0', [SPEC_KEY]: [] } })
  t.match(json, { code: 1, msg: 'config version does not allow GC', cniVersion: '1.0.0' })
  t.same(alive(node).leases, 'abcx')
})

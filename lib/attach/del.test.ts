import t from 'tap'
import { hostIfNameOf, ifbNameOf } from '../plan/link-names.ts'
import { LINK_GROUP } from '../plan/marks.ts'
import { parseMac } from '../net/mac.ts'
import { FakeNode, POD_PATH, type FakeRun } from './fake-edges.ts'

const ATTACHMENT = { network: 'net1', containerId: 'c1', ifName: 'eth0' }
const HOST_IF_NAME = hostIfNameOf(ATTACHMENT)
const IFB_NAME = ifbNameOf(ATTACHMENT)
const LIMITED = { config: { runtimeConfig: { bandwidth: { ingressRate: 8_000_000, egressRate: 8_000_000 } } } } as const

interface Case {
  readonly name: string
  /** What happens to the node between ADD and DEL. */
  readonly prepare?: (node: FakeNode) => void
  readonly run?: FakeRun
  readonly add?: FakeRun
}

/** Whatever DEL lacks, it takes everything down and succeeds (D1, D2, D4). */
const CASES: readonly Case[] = [
  { name: 'with everything there' },
  { name: 'with an empty CNI_NETNS (E10, D4)', run: { netns: '' } },
  { name: 'with a path to no namespace (E10)', run: { netns: '/run/netns/gone' } },
  { name: 'without CNI_PATH (E3)', run: { env: { CNI_PATH: undefined } } },
  { name: 'when the namespace is gone, and its interface with it', prepare: node => node.removePod(POD_PATH) },
  {
    name: 'of a link that was killed before its alias was set (R22)',
    prepare: node => delete node.host.link(HOST_IF_NAME)?.alias,
  },
  { name: 'of a link whose ADD never ended', prepare: node => setAlias(node, 'tulle/1 adding eth0 c1 net1') },
  { name: 'with a prevResult that cannot be read (D6)', run: { config: { prevResult: { interfaces: 'none' } } } },
  {
    name: 'with a configuration that ADD would refuse (D6)',
    run: { config: { mode: 'bridge', mtu: -1, ipMasq: true } },
  },
  { name: 'of a pod with limits', add: LIMITED },
  {
    name: 'of a pod with limits when the namespace is gone, and its interface with it, but not the ifb',
    add: LIMITED,
    prepare: node => node.removePod(POD_PATH),
    run: { netns: '' },
  },
  {
    name: 'of a pod with limits killed before the alias of the ifb was set (R22)',
    add: LIMITED,
    prepare: node => delete node.host.link(IFB_NAME)?.alias,
  },
  { name: 'with CNI_ARGS that ADD would refuse (D6)', run: { env: { CNI_ARGS: 'a=b=c' } } },
]
for (const { name, prepare, run, add } of CASES) {
  t.test(`del() takes everything down ${name}`, async t => {
    const node = new FakeNode()
    const before = node.render()
    await node.run('ADD', add)
    prepare?.(node)
    const { exitCode, stdout } = await node.run('DEL', run)
    t.same([exitCode, stdout], [0, ''], 'no output (O6)')
    if (node.pods.has(POD_PATH)) t.equal(node.render(), before)
    t.equal(node.host.link(IFB_NAME), undefined)
    t.same([node.host.link(HOST_IF_NAME), node.ipam.leases.size, node.openHandles], [undefined, 0, 0])
    t.same(
      [(await node.run('DEL', run)).exitCode, (await node.run('DEL', run)).stdout],
      [0, ''],
      'again and again (D1)',
    )
  })
}

t.test('del() leaves a link alone that has the name of our ifb and is somebody else’s', async t => {
  const node = new FakeNode()
  const theirs = { name: IFB_NAME, mac: parseMac('02:00:00:00:00:77'), mtuBytes: 1500, kind: 'ifb' }
  node.host.addLink(theirs)
  t.match((await node.run('ADD', LIMITED)).json, {
    code: 103,
    msg: `host link ${IFB_NAME} exists already: its alias is ''`,
  })
  t.equal((await node.run('ADD')).exitCode, 0, 'who does not need the name is not kept by it')
  t.equal((await node.run('DEL')).exitCode, 0)
  t.match(node.host.link(IFB_NAME), { name: IFB_NAME })
  t.ok(node.log.includes(`host link ${IFB_NAME} is left alone: its alias is ''`))
  t.equal(node.host.link(HOST_IF_NAME), undefined)
})

t.test('add() makes room for the limits of a pod whose earlier ifb was left behind', async t => {
  const node = new FakeNode()
  await node.run('ADD', LIMITED)
  const first = node.host.link(IFB_NAME)?.index
  node.removePod(POD_PATH)
  node.addPod(POD_PATH)
  t.equal((await node.run('ADD', LIMITED)).exitCode, 0)
  t.not(node.host.link(IFB_NAME)?.index, first)
})

t.test('del() looks for an ifb once, ADD without limits never: no other look-up is for bandwidth', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  t.notOk(node.events.some(event => event.includes('tib')))
  const before = node.steps.length
  await node.run('DEL')
  t.equal(node.steps.slice(before).filter(step => step === 'observeLink').length, 2, 'the interface, and the ifb')
})

t.test('del() succeeds when nothing was ever made (D1)', async t => {
  t.same([(await new FakeNode().run('DEL')).exitCode, (await new FakeNode().run('DEL', { netns: '' })).stdout], [0, ''])
})

t.test('del() releases the address after the interface is gone (D5)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  node.events.length = 0
  await node.run('DEL')
  t.same(node.events, [`host: ip link delete dev ${HOST_IF_NAME}`, 'ipamd: release net1/c1/eth0'])
})

t.test('del() spools the release while ipamd is down, and succeeds (R13)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  node.ipam.state = 'down'
  const socket = '/run/other/ipamd.sock'
  const { exitCode } = await node.run('DEL', { netns: '', config: { ipam: { type: 'tulle-ipam', socket } } })
  t.equal(exitCode, 0)
  t.equal(node.host.link(HOST_IF_NAME), undefined)
  t.same(node.spool, [{ socketPath: socket, entry: { attachment: ATTACHMENT, releasedAtUnixMs: 1_700_000_000_000 } }])
})

t.test(
  'del() of a network whose name is too long for a lease succeeds, and leaves nothing in the spool (D6)',
  async t => {
    const node = new FakeNode()
    node.ipam.state = 'down'
    t.equal((await node.run('DEL', { config: { name: 'x'.repeat(300) } })).exitCode, 0)
    t.same(node.spool, [])
  },
)

t.test('del() leaves a link of its name alone that is somebody else’s, and releases (R22)', async t => {
  for (const { group, alias } of [
    { group: 0, alias: undefined },
    { group: 0, alias: 'no owner of ours' },
    { group: LINK_GROUP, alias: 'tulle/1 eth0 other net1' },
  ]) {
    const node = new FakeNode()
    const link = node.host.addLink({ name: HOST_IF_NAME, mac: parseMac('02:00:00:00:00:07'), mtuBytes: 1500, group })
    if (typeof link !== 'string' && alias !== undefined) link.alias = alias
    t.equal((await node.run('DEL')).exitCode, 0)
    t.equal(node.host.link(HOST_IF_NAME), link, `alias ${alias ?? 'none'}`)
    t.same(node.ipam.released, ['net1/c1/eth0'])
    t.match(node.log, [new RegExp(`^host link ${HOST_IF_NAME} is left alone`)])
  }
})

t.test(
  'del() removes its interface although somebody edited the alias, or a newer version wrote it (invariant 2)',
  async t => {
    for (const alias of ['edited by hand', 'tulle/2 something newer']) {
      const node = new FakeNode()
      await node.run('ADD')
      setAlias(node, alias)
      t.equal((await node.run('DEL')).exitCode, 0)
      t.equal(node.host.link(HOST_IF_NAME), undefined, alias)
      t.same(node.ipam.released, ['net1/c1/eth0'])
    }
  },
)

t.test('del() keeps the lease of an interface that does not go, and reports it (D5, invariant 2)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  node.fault = step =>
    typeof step !== 'string' && step.do === 'delete-link' ? { errno: 'EBUSY', how: 'refused' } : undefined
  t.match((await node.run('DEL')).json, {
    code: 105,
    msg: new RegExp(
      `^the interface of c1/eth0 is not removed, its address is kept: .*ip link delete dev ${HOST_IF_NAME}: EBUSY$`,
    ),
  })
  t.equal(node.ipam.leases.size, 1)
  node.fault = () => undefined
  t.equal((await node.run('DEL')).exitCode, 0)
  t.equal(node.ipam.leases.size, 0)
})

t.test('del() releases nothing when it cannot see whether the interface is gone (invariant 2)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  node.fault = step => (step === 'observeLink' ? { errno: 'ENOBUFS', how: 'refused' } : undefined)
  t.match((await node.run('DEL')).json, { code: 102 })
  t.equal(node.ipam.leases.size, 1)
})

t.test('del() waits for whoever works on the attachment', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  node.lockedElsewhere.add('net1/c1/eth0')
  t.match((await node.run('DEL')).json, { code: 11 })
  t.same([node.ipam.leases.size, node.host.link(HOST_IF_NAME) === undefined], [1, false])
})

function setAlias(node: FakeNode, alias: string): void {
  const link = node.host.link(HOST_IF_NAME)
  if (link !== undefined) link.alias = alias
}

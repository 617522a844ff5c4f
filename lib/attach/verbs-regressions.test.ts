import t from 'tap'
import { hostIfNameOf } from '../plan/link-names.ts'
import { DeadlineExceeded, type Deadline } from '../time/deadline.ts'
import { FakeNode, POD_PATH } from './fake-edges.ts'
import { handle } from './handle.ts'

const CONFIG = { cniVersion: '1.1.0', name: 'net1', type: 'tulle', ipam: { type: 'tulle-ipam' } }
const ENV = { CNI_CONTAINERID: 'c1', CNI_NETNS: POD_PATH, CNI_IFNAME: 'eth0', CNI_PATH: '/opt/cni/bin' }

t.test('DEL spools the release when no time is left to ask ipamd (invariant 7)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  node.ipam.release = () => Promise.reject(new DeadlineExceeded('asking ipamd'))
  t.equal((await node.run('DEL')).exitCode, 0)
  t.match(node.spool, [{ entry: { attachment: { containerId: 'c1' } } }])
})

t.test(
  'DEL waits some seconds for an ipamd that does not answer, and not all the time that it has (R13, R14)',
  async t => {
    const node = new FakeNode()
    const waitsMs: number[] = []
    const release = async (_request: unknown, by: Deadline): Promise<boolean> => waitsMs.push(by.remainingMs()) > 0
    const edges = {
      ...node.edges,
      ipam: () => Object.assign(Object.create(node.ipam) as FakeNode['ipam'], { release }),
    }
    const env = { ...ENV, CNI_COMMAND: 'DEL' }
    t.equal((await handle({ env, readStdin: () => JSON.stringify(CONFIG) }, edges)).exitCode, 0)
    t.ok(waitsMs.length === 1 && (waitsMs[0] ?? 0) <= 5_000, `${waitsMs.join()} ms`)
  },
)

t.test('DEL of names that ADD refuses for their length succeeds (D2, R12)', async t => {
  for (const run of [{ containerId: 'c'.repeat(129) }, { config: { name: 'n'.repeat(96) } }]) {
    const node = new FakeNode()
    t.equal((await node.run('ADD', run)).exitCode, 1)
    const { exitCode, stdout } = await node.run('DEL', run)
    t.same([exitCode, stdout], [0, ''])
  }
})

t.test('ADD refuses resolver settings that cannot be read before it makes anything (C7, invariant 8)', async t => {
  const node = new FakeNode()
  const { json } = await node.run('ADD', { config: { runtimeConfig: { dns: { servers: 5 } } } })
  t.match(json, { code: 7, msg: /^Cannot use runtimeConfig\.dns\.servers 5/ })
  t.same(node.events, [])
})

t.test('ADD names the IPAM plugin whose answer cannot be read', async t => {
  const node = new FakeNode()
  node.delegate.result = 'I am fine, thanks'
  const { json } = await node.run('ADD', { config: { ipam: { type: 'host-local' } } })
  t.match(json, { code: 6, msg: 'Cannot decode the result of IPAM plugin host-local: it is not JSON' })
})

for (const verb of ['STATUS', 'GC', 'DEL', 'ADD'] as const) {
  t.test(`${verb} never starts this plugin as its own IPAM plugin`, async t => {
    const node = new FakeNode()
    const config = { ipam: { type: 'tulle' }, 'cni.dev/valid-attachments': [] }
    const { exitCode } = await node.run(verb, { config })
    t.same([exitCode, node.delegate.verbs], [verb === 'DEL' || verb === 'GC' ? 0 : 1, []])
  })
}

t.test('CHECK refuses a prevResult without an address of ours: there would be little to verify (K2)', async t => {
  const node = new FakeNode()
  const { json } = await node.run('ADD')
  const ips = ((json ?? {})['ips'] as readonly { readonly address: string }[]).map(({ address }) => ({ address }))
  const prevResult = { ...json, ips }
  t.match((await node.run('CHECK', { config: { prevResult } })).json, {
    code: 7,
    msg: 'prevResult.ips has no address that ADD gave to eth0',
  })
})

t.test('CHECK tolerates an address that a later plugin of the chain added to the result (K4)', async t => {
  const node = new FakeNode()
  const { json } = await node.run('ADD')
  const ips = [
    ...((json ?? {})['ips'] as readonly object[]),
    { address: '192.0.2.7/24', gateway: '192.0.2.1', interface: 1 },
  ]
  t.equal((await node.run('CHECK', { config: { prevResult: { ...json, ips } } })).stdout, '')
})

t.test('GC does not spend its time on one attachment that somebody else holds (G4)', async t => {
  const node = new FakeNode()
  await node.run('ADD')
  const waitsMs: number[] = []
  const lock = async (_attachment: unknown, by: Deadline): Promise<Disposable> => {
    waitsMs.push(by.remainingMs())
    throw new DeadlineExceeded('waiting for the lock')
  }
  const stdin = JSON.stringify({ ...CONFIG, 'cni.dev/valid-attachments': [] })
  const { stdout } = await handle({ env: { CNI_COMMAND: 'GC' }, readStdin: () => stdin }, { ...node.edges, lock })
  t.match(JSON.parse(stdout), { code: 11 })
  t.ok(waitsMs.length === 1 && (waitsMs[0] ?? 0) <= 2_000, `${waitsMs.join()} ms`)
  t.ok(node.host.link(hostIfNameOf({ network: 'net1', containerId: 'c1', ifName: 'eth0' })), 'it is left alone')
})

t.test('ADD takes its own gateways among ipsToRouteViaHost: they lead to the host already', async t => {
  const node = new FakeNode()
  const config = { ipsToRouteViaHost: ['169.254.1.1', 'fe80::1', '169.254.20.10'] }
  const { json } = await node.run('ADD', { config })
  t.same(
    ((json ?? {})['routes'] as readonly { readonly dst: string }[]).map(({ dst }) => dst),
    ['0.0.0.0/0', '::/0', '169.254.20.10/32'],
  )
  t.equal((await node.run('CHECK', { config: { ...config, prevResult: json } })).stdout, '')
})

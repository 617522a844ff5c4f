import t from 'tap'
import { CniError } from '../cni/errors.ts'
import { hostIfNameOf } from '../plan/link-names.ts'
import { DeadlineExceeded } from '../time/deadline.ts'
import { FakeNode, POD_PATH } from './fake-edges.ts'

const HOST_IF_NAME = hostIfNameOf({ network: 'net1', containerId: 'c1', ifName: 'eth0' })
const CONFIG = { ipam: { type: 'host-local', ranges: [[{ subnet: '10.9.0.0/24' }]] }, unknown: { kept: true } }
const SPEC_KEY = 'cni.dev/valid-attachments'

t.test(
  'ADD takes addresses, routes and resolver settings from the plugin, and the rest as a routed pod has it',
  async t => {
    const node = new FakeNode()
    node.delegate.result = {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'not ours' }],
      ips: [{ address: '10.9.0.7/24', gateway: '10.9.0.1', interface: 0 }, { address: 'fd00:9::7/64' }],
      routes: [{ dst: '10.0.0.0/8' }, { dst: 'fd00::/8', gw: 'fd00:9::1' }],
      dns: { nameservers: ['10.9.0.53'] },
    }
    const { exitCode, json } = await node.run('ADD', { config: CONFIG })
    t.equal(exitCode, 0, JSON.stringify(json))
    t.match(json, {
      ips: [
        { address: '10.9.0.7/32', gateway: '169.254.1.1', interface: 1 },
        { address: 'fd00:9::7/128', gateway: 'fe80::1', interface: 1 },
      ],
      dns: { nameservers: ['10.9.0.53'] },
    })
    t.same(json?.['routes'], [
      { dst: '10.0.0.0/8', gw: '169.254.1.1' },
      { dst: 'fd00::/8', gw: 'fe80::1' },
    ])
    t.same(node.delegate.calls, [
      {
        type: 'host-local',
        command: 'ADD',
        cniPath: ['/opt/cni/bin'],
        configuration: JSON.stringify({ cniVersion: '1.1.0', name: 'net1', type: 'tulle', ...CONFIG }),
      },
    ])
    const checked = await node.run('CHECK', { config: { ...CONFIG, prevResult: json } })
    t.equal(checked.stdout, '')
    t.same(node.delegate.verbs, ['ADD', 'CHECK'], 'its CHECK is asked too (K6)')
  },
)

t.test('ADD routes everything when the plugin names no routes', async t => {
  const node = new FakeNode()
  node.delegate.result = { cniVersion: '1.1.0', ips: [{ address: '10.9.0.7/24' }] }
  t.match((await node.run('ADD', { config: CONFIG })).json, { routes: [{ dst: '0.0.0.0/0', gw: '169.254.1.1' }] })
})

const UNUSABLE = [
  { name: 'no address', result: { cniVersion: '1.1.0' }, code: 104, msg: /^IPAM plugin host-local gave no address/ },
  {
    name: 'two addresses of a family',
    result: { cniVersion: '1.1.0', ips: [{ address: '10.9.0.7/24' }, { address: '10.9.0.8/24' }] },
    code: 104,
    msg: /gave 2 IPv4 addresses: want at most one for each family$/,
  },
  {
    name: 'a route with attributes',
    result: { cniVersion: '1.1.0', ips: [{ address: '10.9.0.7/24' }], routes: [{ dst: '0.0.0.0/0', table: 100 }] },
    code: 104,
    msg: /gave a route to 0\.0\.0\.0\/0 with attributes/,
  },
  { name: 'no JSON', result: 'I am fine, thanks', code: 6, msg: /JSON/ },
  { name: 'nothing at all', result: '', code: 6, msg: /JSON/ },
  {
    name: 'no address that can be read',
    result: { cniVersion: '1.1.0', ips: [{ address: '10.9.0.300/24' }] },
    code: 6,
    msg: /ips\[0\]\.address/,
  },
] as const
for (const { name, result, code, msg } of UNUSABLE) {
  t.test(`ADD gives back what it cannot use, once: the plugin gave ${name} (A8)`, async t => {
    const node = new FakeNode()
    const before = node.render()
    node.delegate.result = result
    t.match((await node.run('ADD', { config: CONFIG })).json, { code, msg })
    t.same(node.delegate.verbs, ['ADD', 'DEL'])
    t.equal(node.render(), before)
  })
}

t.test('ADD that fails later gives the address back after the interface is gone (A8, A9)', async t => {
  const node = new FakeNode()
  const before = node.render()
  node.fault = step =>
    typeof step !== 'string' && step.do === 'add-route' ? { errno: 'ENOBUFS', how: 'refused' } : undefined
  t.match((await node.run('ADD', { config: CONFIG })).json, { code: 102, msg: /ENOBUFS$/ })
  t.same(node.delegate.verbs, ['ADD', 'DEL'])
  t.equal(node.events.at(-1), 'host-local: DEL')
  t.equal(node.render(), before)
})

t.test(
  'ADD of the plugin failing is followed by its DEL, and reported with its own code (SPEC 1.1.0 section 4, A8)',
  async t => {
    for (const failure of [
      new CniError(101, 'host-local: no IP addresses available'),
      new DeadlineExceeded('running the plugin host-local'),
    ]) {
      const node = new FakeNode()
      node.delegate.failures.set('ADD', failure)
      const code = failure instanceof CniError ? 101 : 11
      t.match((await node.run('ADD', { config: CONFIG })).json, { code, msg: failure.message })
      t.same(node.delegate.verbs, ['ADD', 'DEL'])
    }
  },
)

t.test('ADD reports the first error when the plugin’s DEL fails too (A9)', async t => {
  const node = new FakeNode()
  node.delegate.result = ''
  node.delegate.failures.set('DEL', new CniError(104, 'host-local: disk full'))
  t.match((await node.run('ADD', { config: CONFIG })).json, { code: 6 })
  t.match(node.log.at(-1), /the lease is not given back: host-local: disk full/)
})

t.test(
  'DEL removes the interface before the plugin frees the address (D5), with and without a namespace (D3, D4)',
  async t => {
    for (const netns of [POD_PATH, '']) {
      const node = new FakeNode()
      await node.run('ADD', { config: CONFIG })
      node.events.length = 0
      t.equal((await node.run('DEL', { netns, config: CONFIG })).exitCode, 0)
      t.same(node.events, [`host: ip link delete dev ${HOST_IF_NAME}`, 'host-local: DEL'])
      t.equal((await node.run('DEL', { netns, config: CONFIG })).exitCode, 0, 'and again')
      t.same(node.delegate.verbs, ['ADD', 'DEL', 'DEL'], 'it is asked each time (D3)')
    }
  },
)

t.test('DEL frees nothing while the interface is there, and reports a plugin that fails', async t => {
  const node = new FakeNode()
  await node.run('ADD', { config: CONFIG })
  node.fault = step =>
    typeof step !== 'string' && step.do === 'delete-link' ? { errno: 'EBUSY', how: 'refused' } : undefined
  t.match((await node.run('DEL', { config: CONFIG })).json, { code: 105 })
  t.same(node.delegate.verbs, ['ADD'])
  node.fault = () => undefined
  node.delegate.failures.set('DEL', new CniError(104, 'host-local: disk full'))
  t.match((await node.run('DEL', { config: CONFIG })).json, { code: 104, msg: 'host-local: disk full' })
  t.same(node.spool, [], 'nothing is spooled: ipamd knows nothing of it')
})

t.test('CHECK passes the plugin’s error on (K6)', async t => {
  const node = new FakeNode()
  const { json } = await node.run('ADD', { config: CONFIG })
  node.delegate.failures.set('CHECK', new CniError(100, 'host-local: Failed to find address'))
  t.match((await node.run('CHECK', { config: { ...CONFIG, prevResult: json } })).json, {
    code: 100,
    msg: /Failed to find address/,
  })
})

t.test('STATUS asks the plugin (S4)', async t => {
  const node = new FakeNode()
  t.equal((await node.run('STATUS', { config: CONFIG })).stdout, '')
  node.delegate.failures.set('STATUS', new CniError(50, 'host-local: full'))
  t.match((await node.run('STATUS', { config: CONFIG })).json, { code: 50, msg: 'host-local: full' })
})

t.test('GC hands the plugin the list that it got, with what could not be removed (G5, invariant 2)', async t => {
  const node = new FakeNode()
  await node.run('ADD', { config: CONFIG })
  const other = { containerID: 'c2', ifname: 'eth0' }
  node.fault = step =>
    typeof step !== 'string' && step.do === 'delete-link' ? { errno: 'EBUSY', how: 'refused' } : undefined
  t.match((await node.run('GC', { config: { ...CONFIG, [SPEC_KEY]: [other] } })).json, { code: 105 })
  const sent = JSON.parse(node.delegate.calls.at(-1)?.configuration ?? '') as Record<string, unknown>
  t.same(sent[SPEC_KEY], [other, { containerID: 'c1', ifname: 'eth0' }])
  t.equal(node.delegate.calls.at(-1)?.command, 'GC')
})

t.test('GC without a list is forwarded without a list (G3, G5)', async t => {
  const node = new FakeNode()
  t.equal((await node.run('GC', { config: CONFIG })).exitCode, 0)
  const sent = JSON.parse(node.delegate.calls.at(-1)?.configuration ?? '') as Record<string, unknown>
  t.equal(Object.hasOwn(sent, SPEC_KEY), false)
})

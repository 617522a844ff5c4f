import './harness/isolated.ts'
import t from 'tap'
import { Cluster, type NodePlan } from './harness/cluster.ts'
import { ping } from './harness/reach.ts'
import { until } from './harness/until.ts'

// Pods of different nodes reach each other, on the real kernel, with the built executables.

const A: NodePlan = plan('a', { network: 0, host: 1 })
const B: NodePlan = plan('b', { network: 0, host: 2 })

function plan(name: string, at: { readonly network: number; readonly host: number }): NodePlan {
  return { name, ...at, podCidrs: [`10.244.${at.host}.0/24`, `fd00:10:244:${at.host}::/64`] }
}

t.test('direct: pods of nodes on one link reach each other, in both families, without NAT', async t => {
  await using cluster = await Cluster.start({ agent: { routing: { mode: 'direct' } } })
  const a = await cluster.add(A)
  const b = await cluster.add(B)
  await a.untilReady()
  await b.untilReady()
  await until('a has the route to b', async () => (await a.routes()).length === 1)
  await until('b has the route to a', async () => (await b.routes()).length === 1)
  t.strictSame(await a.routes(), ['10.244.2.0/24 via 192.0.2.2 dev eth0 metric 1180'])
  t.strictSame(await a.routes('-6'), ['fd00:10:244:2::/64 via 2001:db8::2 dev eth0 metric 1180 pref medium'])

  const podA = await a.attach()
  const podB = await b.attach()
  t.match(podA.ipv4, /^10\.244\.1\./, 'an address of the pod CIDR that the cluster gave')
  t.type(await ping(podA.netns, podB.ipv4, 5), 'number', 'IPv4 from pod to pod')
  t.type(await ping(podA.netns, podB.ipv6, 5), 'number', 'IPv6 from pod to pod')
  t.type(await ping(a.netns, podB.ipv4, 5), 'number', 'from a node to a pod of another')
  t.type(await ping(podA.netns, '192.0.2.2', 5), 'number', 'from a pod to another node')
  const ready = cluster.api.get('a')?.['status']
  t.match(ready, { conditions: [{ type: 'NetworkUnavailable', status: 'False' }] })
})

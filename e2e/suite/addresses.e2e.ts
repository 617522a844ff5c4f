// Addresses that a pod asks for, and those that it keeps: static by annotation, sticky for what has the same name again.
import type { V1StatefulSet } from '@kubernetes/client-node'
import t from 'tap'
import { until } from '../cluster/until.ts'
import { serverContainer, serverPod } from './harness/pods.ts'
import { setUp } from './harness/setting.ts'
import { unusedAddressesOf } from './harness/static-addresses.ts'
import { httpOf, sameFamily, seenOverTcp } from './harness/traffic.ts'

const REPLICAS = 3

const { kubernetes, nodeNames } = await setUp()
const [firstNode = ''] = nodeNames
const lastNode = nodeNames.at(-1) ?? ''
const [client] = await kubernetes.runPods([serverPod({ name: 'client', nodeName: firstNode })])

t.test('a pod of a StatefulSet with a sticky address returns at the address that it had', async t => {
  await kubernetes.apps.createNamespacedStatefulSet({ namespace: kubernetes.namespace, body: stickySet() })
  const names = Array.from({ length: REPLICAS }, (_, index) => `sticky-${index}`)
  const before = await kubernetes.readyPods(names)
  // Who comes meanwhile gets addresses that nobody had: that the pods have theirs again is no chance.
  await kubernetes.deletePods(['sticky-1'])
  const others = await kubernetes.runPods([serverPod({ name: 'other', nodeName: lastNode })])
  const [after] = await kubernetes.readyPods(['sticky-1'])
  t.same(after?.addresses, before[1]?.addresses, 'one pod was deleted, and has its addresses again')
  t.notOk(
    others[0]?.addresses.some(address => before.some(({ addresses }) => addresses.includes(address))),
    'no other pod got one of them',
  )
  await scale(0)
  await kubernetes.podsGone(names)
  await scale(REPLICAS)
  const again = await kubernetes.readyPods(names)
  t.same(again, before, 'all were gone, and each has its own addresses again')
  for (const address of again.flatMap(({ addresses }) => addresses)) {
    const own = sameFamily(client?.addresses ?? [], address)
    t.equal(await seenOverTcp(kubernetes, 'client', httpOf(address)), own, `a pod of another node reaches ${address}`)
  }
  await kubernetes.apps.deleteNamespacedStatefulSet({ namespace: kubernetes.namespace, name: 'sticky' })
  await kubernetes.podsGone(names)
})

t.test('a pod has the addresses that its annotation names, and nobody else gets them', async t => {
  const wanted = unusedAddressesOf((await kubernetes.nodeReady(lastNode)).spec?.podCIDRs ?? [])
  const annotations = { 'tulle.dev/addresses': wanted.join() }
  const [pod] = await kubernetes.runPods([serverPod({ name: 'static', nodeName: lastNode, annotations })])
  t.same(pod?.addresses, wanted)
  for (const address of wanted) {
    const own = sameFamily(client?.addresses ?? [], address)
    t.equal(await seenOverTcp(kubernetes, 'client', httpOf(address)), own, `a pod of another node reaches ${address}`)
  }
  // One family is named, the other is any.
  const second = { 'tulle.dev/addresses': wanted[0] ?? '' }
  await kubernetes.createPod(serverPod({ name: 'second', nodeName: lastNode, annotations: second }))
  const said = await until('the second pod to be refused', async () =>
    (await kubernetes.eventsOf('second')).find(message => message.includes(wanted[0] ?? '')),
  )
  t.match(said, /leased by tulle\/\w+\/eth0/, 'its events say who has the address')
  await kubernetes.deletePods(['static', 'second'])
})

/** All on one node: an address of a block stays with the block's node. */
function stickySet(): V1StatefulSet {
  const labels = { app: 'sticky' }
  return {
    metadata: { name: 'sticky' },
    spec: {
      replicas: REPLICAS,
      podManagementPolicy: 'Parallel',
      selector: { matchLabels: labels },
      serviceName: 'sticky',
      template: {
        metadata: { labels, annotations: { 'tulle.dev/sticky': '1h' } },
        spec: {
          nodeSelector: { 'kubernetes.io/hostname': lastNode },
          terminationGracePeriodSeconds: 1,
          tolerations: [{ operator: 'Exists' }],
          containers: [serverContainer({})],
        },
      },
    },
  }
}

async function scale(replicas: number): Promise<void> {
  const { namespace } = kubernetes
  const body = { metadata: { name: 'sticky', namespace }, spec: { replicas } }
  await kubernetes.apps.replaceNamespacedStatefulSetScale({ name: 'sticky', namespace, body })
}

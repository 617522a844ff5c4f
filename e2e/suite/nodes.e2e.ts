// Nodes come, go and lose their power; every other node's routes follow.
import t from 'tap'
import type { Test } from 'tap'
import { until } from '../cluster/until.ts'
import { Daemons } from './harness/daemons.ts'
import { tellFigure } from './harness/figures.ts'
import { leasesOf } from './harness/leases.ts'
import { pingsOf, startPinging } from './harness/pings.ts'
import { serverPod } from './harness/pods.ts'
import { routesToNodes } from './harness/routes.ts'
import { setUp } from './harness/setting.ts'
import { httpOf, sameFamily, seenOverTcp, wayOf } from './harness/traffic.ts'
import type { ReadyPod } from './harness/kubernetes.ts'

const NODE_MS = 180_000
const ROUTES_MS = 60_000
const PODS_ON_NODE = 5

const { kubernetes, provider, nodeNames } = await setUp()
const [firstNode = '', secondNode = ''] = nodeNames
const daemons = new Daemons(provider)
const clientNames = nodeNames.map(nodeName => `client-${nodeName}`)
await kubernetes.runPods(nodeNames.map((nodeName, index) => serverPod({ name: clientNames[index] ?? '', nodeName })))

t.test('a node that loses its power comes back with its pods, and no address of before is lost', async t => {
  const names = Array.from({ length: PODS_ON_NODE }, (_, index) => `pod-${index}`)
  await kubernetes.runPods(names.map(name => serverPod({ name, nodeName: secondNode, hostPort: hostPortOf(name) })))
  const others = (await kubernetes.readyPods(clientNames)).filter(({ nodeName }) => nodeName !== secondNode)
  const addresses = others.flatMap(other => other.addresses)
  await startPinging(kubernetes, { name: 'pinging', nodeName: firstNode, addresses })

  await provider.rebootNode(secondNode)
  await kubernetes.nodeReady(secondNode, NODE_MS)
  await until(
    'every pod of the node to run again',
    async () => (await kubernetes.restartsOf([...names, `client-${secondNode}`])).every(count => count > 0),
    NODE_MS,
  )
  await daemons.ready()
  const pods = await kubernetes.readyPods(names)
  const clients = await kubernetes.readyPods(clientNames)
  const all = [...pods, ...clients].flatMap(pod => pod.addresses)
  t.equal(new Set(all).size, all.length, 'invariant 1: no two pods have the same address')
  for (const pod of pods) {
    for (const other of others) {
      await reach(t, pod, other)
      await reach(t, other, pod)
    }
  }
  const held = (await leasesOf(provider, secondNode)).flatMap(({ addresses: leased }) => leased)
  const { items } = await kubernetes.core.listPodForAllNamespaces({ fieldSelector: `spec.nodeName=${secondNode}` })
  const wanted = items
    .filter(({ spec }) => spec?.hostNetwork !== true)
    .flatMap(({ status }) => (status?.podIPs ?? []).map(({ ip }) => ip ?? ''))
  t.same(held.toSorted(), wanted.toSorted(), 'R1: the leases are those of the pods that run, and no other')
  for (const { address, sent, answered } of await pingsOf(kubernetes, 'pinging')) {
    t.equal(answered, sent, `pods of other nodes lost nothing to ${address}`)
  }
  await kubernetes.deletePods(names)
})

const noNewNodes = provider.canAddNodes ? {} : { skip: 'no node can be added to the cluster here' }

t.test(
  'a node that comes is reached from every other node, and one that goes leaves no route behind',
  noNewNodes,
  async t => {
    const clients = await kubernetes.readyPods(clientNames)
    const before = new Map<string, number>()
    for (const nodeName of nodeNames) before.set(nodeName, (await routesToNodes(provider, nodeName)).length)

    const added = await provider.addNode()
    const known = await whenKnown(added.name)
    const routedAfterMs = await Promise.all(
      nodeNames.map(async nodeName =>
        until(
          `${nodeName} to have routes to ${added.name}`,
          async () => {
            const routes = await routesToNodes(provider, nodeName)
            return (
              routes.length === (before.get(nodeName) ?? 0) + known.podCidrs.length && performance.now() - known.atMs
            )
          },
          ROUTES_MS,
        ),
      ),
    )
    await tellFigure(t, {
      what: 'pod CIDRs of a new node known to the API server → routes to them on every other node',
      valueMs: Math.max(...routedAfterMs),
      goalMs: 1_000,
    })
    await kubernetes.nodeReady(added.name, NODE_MS)
    await tellFigure(t, { what: 'the same → the new node is Ready', valueMs: performance.now() - known.atMs })
    const [pod] = await kubernetes.runPods([serverPod({ name: 'on-new-node', nodeName: added.name })])
    if (pod === undefined) throw new Error('no pod on the new node')
    const readyAtMs = performance.now()
    // The first packet has to arrive: nothing is tried twice.
    await Promise.all(clients.map(async client => reach(t, client, pod)))
    await tellFigure(t, {
      what: 'first pod on a new node is Ready → reached from a pod on every other node',
      valueMs: performance.now() - readyAtMs,
      goalMs: 1_000,
    })
    for (const client of clients) await reach(t, pod, client)
    await daemons.ready()

    await provider.removeNode(added.name)
    await kubernetes.core.deleteNode({ name: added.name })
    const deletedAtMs = performance.now()
    for (const nodeName of nodeNames) {
      const left = await until(
        `${nodeName} to have no route to ${added.name}`,
        async () => {
          const routes = await routesToNodes(provider, nodeName)
          return routes.length === before.get(nodeName) && routes
        },
        ROUTES_MS,
      )
      t.notOk(
        left.some(({ to }) => known.podCidrs.includes(to)),
        `R28: ${nodeName} has no route to the pods of ${added.name}`,
      )
      for (const address of added.addresses) {
        const neighbours = await provider.exec(nodeName, ['bridge', 'fdb', 'show', 'dev', 'vx-tulle'])
        t.notMatch(neighbours, new RegExp(`dst ${address}\\b`), 'nor a way in the tunnel')
      }
    }
    await tellFigure(t, {
      what: 'Node object deleted → its routes gone on every node',
      valueMs: performance.now() - deletedAtMs,
    })
    await kubernetes.core.deleteNamespacedPod({
      name: pod.name,
      namespace: kubernetes.namespace,
      gracePeriodSeconds: 0,
    })
    await kubernetes.podsGone([pod.name])
  },
)

/** Waits until the Node object says what other nodes need. @returns when that was not there yet, at the last look. */
async function whenKnown(nodeName: string): Promise<{ readonly podCidrs: readonly string[]; readonly atMs: number }> {
  let atMs = performance.now()
  return await until(
    `${nodeName} to have pod CIDRs`,
    async () => {
      const askedAtMs = performance.now()
      const node = (await kubernetes.nodes()).find(({ metadata }) => metadata?.name === nodeName)
      const hasAddress = node?.status?.addresses?.some(({ type }) => type === 'InternalIP') === true
      const podCidrs = node?.spec?.podCIDRs ?? []
      if (hasAddress && podCidrs.length > 0) return { podCidrs, atMs }
      atMs = askedAtMs
      return undefined
    },
    NODE_MS,
  )
}

/** Holds on TCP, in both families, with the address of the one who asks. */
async function reach(t: Test, from: ReadyPod, to: ReadyPod): Promise<void> {
  for (const address of to.addresses) {
    const own = sameFamily(from.addresses, address)
    t.equal(await seenOverTcp(kubernetes, from.name, httpOf(address)), own, `${wayOf(from, to)} at ${address}`)
  }
}

function hostPortOf(podName: string): number {
  return 18_100 + Number(podName.replace('pod-', ''))
}

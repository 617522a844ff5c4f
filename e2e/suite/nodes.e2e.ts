// Nodes come, go and lose their power; every other node's routes follow.
import t from 'tap'
import type { Test } from 'tap'
import { until } from '../cluster/until.ts'
import { Daemons } from './harness/daemons.ts'
import { tellFigure } from './harness/figures.ts'
import { firstAnswersUnixMs, startAwaitingAnswers } from './harness/first-answers.ts'
import { leasesOf } from './harness/leases.ts'
import { pingsOf, startPinging } from './harness/pings.ts'
import { serverPod } from './harness/pods.ts'
import { routesToNodes } from './harness/routes.ts'
import { setUp } from './harness/setting.ts'
import { unusedAddressesOf } from './harness/static-addresses.ts'
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

t.test('a node that comes is reached from every other node, and one that goes leaves no route behind', async t => {
  const clients = await kubernetes.readyPods(clientNames)
  const before = new Map<string, number>()
  for (const nodeName of nodeNames) before.set(nodeName, (await routesToNodes(provider, nodeName)).length)

  const adding = provider.addNode()
  // Whatever fails below. That no node could be added is told by the line that waits for it.
  t.teardown(async () =>
    adding.then(
      async ({ name }) => leave(name),
      () => undefined,
    ),
  )
  const [added, known] = await Promise.all([
    adding,
    whenKnown().then(async node => ({ ...node, ...(await converge(node, before)) })),
  ])
  await tellFigure(t, {
    what: 'pod CIDRs of a new node known to the API server → routes to them on every other node',
    valueMs: known.routedAtUnixMs - known.atUnixMs,
    goalMs: 1_000,
  })
  await tellFigure(t, { what: 'the same → the new node is Ready', valueMs: known.readyAtUnixMs - known.atUnixMs })
  t.same(known.pod.addresses, known.addresses, 'the first pod has the addresses that were waited for')
  const answers = await Promise.all(
    clientNames.map(async name => firstAnswersUnixMs(kubernetes, name, known.addresses)),
  )
  const answeredAtUnixMs = Math.max(...answers)
  await tellFigure(t, {
    what: 'the same → the first pod on the new node answers a pod on every other node',
    valueMs: answeredAtUnixMs - known.atUnixMs,
  })
  const [lease] = await leasesOf(provider, added.name, `${kubernetes.namespace}/${known.pod.name}`)
  if (lease === undefined) throw new Error(`no lease of ${known.pod.name}`)
  await tellFigure(t, {
    what: 'the first pod on a new node is given its addresses → it answers a pod on every other node',
    valueMs: answeredAtUnixMs - lease.leasedAtUnixMs,
    goalMs: 1_000,
  })
  // Nothing is tried twice.
  for (const client of clients) {
    await reach(t, client, known.pod)
    await reach(t, known.pod, client)
  }
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
    // Of all links: where every node is on the same one, there is no tunnel.
    const neighbours = await provider.exec(nodeName, ['bridge', 'fdb', 'show'])
    for (const address of added.addresses) {
      t.notMatch(neighbours, new RegExp(`dst ${address}\\b`), 'nor a way in the tunnel')
    }
  }
  await tellFigure(t, {
    what: 'Node object deleted → its routes gone on every node',
    valueMs: performance.now() - deletedAtMs,
  })
  await kubernetes.core.deleteNamespacedPod({
    name: known.pod.name,
    namespace: kubernetes.namespace,
    gracePeriodSeconds: 0,
  })
  await kubernetes.podsGone([known.pod.name])
})

interface NewNode {
  readonly name: string
  readonly podCidrs: readonly string[]
  /** When that was not there yet, at the last look. */
  readonly atUnixMs: number
}

/** Waits until a Node object that was not there says what other nodes need. */
async function whenKnown(): Promise<NewNode> {
  let atUnixMs = Date.now()
  return await until(
    'a new node to have pod CIDRs',
    async () => {
      const askedAtUnixMs = Date.now()
      const node = (await kubernetes.nodes()).find(({ metadata }) => !nodeNames.includes(metadata?.name ?? ''))
      const hasAddress = node?.status?.addresses?.some(({ type }) => type === 'InternalIP') === true
      const podCidrs = node?.spec?.podCIDRs ?? []
      if (hasAddress && podCidrs.length > 0) return { name: node?.metadata?.name ?? '', podCidrs, atUnixMs }
      atUnixMs = askedAtUnixMs
      return undefined
    },
    NODE_MS,
  )
}

/**
 * Makes the first pod of a node that has just come, with addresses that are known before, and has a pod of every other node ping them
 * from now on.
 */
async function converge({ name, podCidrs }: NewNode, routesBefore: ReadonlyMap<string, number>) {
  const addresses = unusedAddressesOf(podCidrs)
  const annotations = { 'tulle.dev/addresses': addresses.join() }
  const [, , routedAtUnixMs, readyAtUnixMs] = await Promise.all([
    kubernetes.createPod(serverPod({ name: 'on-new-node', nodeName: name, annotations })),
    Promise.all(clientNames.map(async client => startAwaitingAnswers(kubernetes, client, addresses))),
    Promise.all(
      nodeNames.map(async nodeName => {
        const wanted = (routesBefore.get(nodeName) ?? 0) + podCidrs.length
        return await until(
          `${nodeName} to have routes to ${name}`,
          async () => (await routesToNodes(provider, nodeName)).length === wanted && Date.now(),
          ROUTES_MS,
        )
      }),
    ).then(times => Math.max(...times)),
    kubernetes.nodeReady(name, NODE_MS).then(() => Date.now()),
  ])
  const [pod] = await kubernetes.readyPods(['on-new-node'])
  if (pod === undefined) throw new Error('no pod on the new node')
  return { addresses, routedAtUnixMs, readyAtUnixMs, pod }
}

/** Takes a node away that a test added, if the test has not: the next one wants the cluster as it was. */
async function leave(nodeName: string): Promise<void> {
  if ((await provider.nodes()).some(({ name }) => name === nodeName)) await provider.removeNode(nodeName)
  const isKnown = (await kubernetes.nodes()).some(({ metadata }) => metadata?.name === nodeName)
  if (isKnown) await kubernetes.core.deleteNode({ name: nodeName })
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

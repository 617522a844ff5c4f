// Somebody takes things away that pods need: what puts itself right, how fast, and what is said meanwhile.
import t from 'tap'
import type { Test } from 'tap'
import { until } from '../cluster/until.ts'
import { Daemons } from './harness/daemons.ts'
import { tellFigure } from './harness/figures.ts'
import type { ReadyPod } from './harness/kubernetes.ts'
import { seenFromOutside, serveClientAddress } from './harness/outside.ts'
import { serverPod } from './harness/pods.ts'
import { routesToNodes } from './harness/routes.ts'
import { setUp } from './harness/setting.ts'
import { fillDisk, withSmallDisk } from './harness/small-disk.ts'
import { httpOf, sameFamily, seenOverTcp, wayOf } from './harness/traffic.ts'

const HOST_PORT = 18_090
/** What is promised for routes and for nftables. */
const REPAIR_GOAL_MS = 2_000
const REPAIR_MS = 30_000
const DELETIONS = 5

const { kubernetes, provider, nodeNames } = await setUp()
const [firstNode = '', secondNode = ''] = nodeNames
const daemons = new Daemons(provider)
const pods = await kubernetes.runPods(nodeNames.map(nodeName => serverPod({ name: `pod-${nodeName}`, nodeName })))

t.test('a route to the pods of another node that somebody deletes is there again at once', async t => {
  const tookMs: number[] = []
  for (const { to } of await routesToNodes(provider, firstNode)) {
    for (let deletion = 0; deletion < DELETIONS; deletion++) tookMs.push(await deleteRoute(firstNode, to))
  }
  t.ok(tookMs.length >= 2 * DELETIONS, 'routes of both families were deleted')
  await tellFigure(t, {
    what: `route deleted → repaired, the slowest of ${tookMs.length}`,
    valueMs: Math.max(...tookMs),
    goalMs: REPAIR_GOAL_MS,
  })
  await everyPodReachesEveryOther(t)
})

t.test('nftables is flushed: ports of nodes and masquerade work again, and sources stay what they are', async t => {
  await kubernetes.runPods([serverPod({ name: 'host-port', nodeName: secondNode, hostPort: HOST_PORT })])
  const node = (await provider.nodes()).find(({ name }) => name === secondNode)
  const tablesBefore = await tablesOf(secondNode)
  const server = await serveClientAddress()
  t.teardown(() => server.close())

  const putBack = await provider.keepOwnRules(secondNode)
  await provider.exec(secondNode, ['nft', 'flush', 'ruleset'])
  const flushedAtMs = performance.now()
  let repairedMs = 0
  try {
    for (const address of node?.addresses ?? []) {
      const own = sameFamily(provider.outsideAddresses, address)
      await until(
        `the port at ${address} to answer`,
        async () => (await seenFromOutside({ address, port: HOST_PORT })) === own,
        REPAIR_MS,
      )
    }
    repairedMs = performance.now() - flushedAtMs
  } finally {
    await putBack()
  }
  await tellFigure(t, { what: 'nftables flushed → hostPort answers', valueMs: repairedMs, goalMs: REPAIR_GOAL_MS })
  for (const outside of provider.outsideAddresses) {
    await until(`a pod to reach ${outside}`, async () => {
      const seen = await seenOverTcp(kubernetes, `pod-${secondNode}`, { address: outside, port: server.port })
      return seen === sameFamily(node?.addresses ?? [], outside)
    })
  }
  await until('sources to stay', async () => keepsItsSource(secondNode))
  await everyPodReachesEveryOther(t)
  // kube-proxy's are its own affair: it writes them again when it starts, or when a service changes.
  await provider.restartService(secondNode, 'kube-proxy')
  const known = new Set(tablesBefore)
  await until('the chains of kube-proxy to be there again', async () =>
    /table ip kube-proxy|chain KUBE-SERVICES/.test(await provider.exec(secondNode, ['nft', 'list', 'chains'])),
  )
  const after = await tablesOf(secondNode)
  t.ok(after.includes('inet tulle'))
  t.same(
    after.filter(table => !known.has(table)),
    [],
    'and nobody made a table that was not there before',
  )
  await kubernetes.deletePods(['host-port'])
})

t.test('a veth that somebody deletes is named by tullectl check, and the pod goes without a trace', async t => {
  const [pod] = await kubernetes.runPods([serverPod({ name: 'cut-off', nodeName: secondNode, args: ['pause'] })])
  const address = sameFamily(pod?.addresses ?? [], '0.0.0.0')
  const route = await provider.exec(secondNode, ['ip', '-json', 'route', 'show', address])
  const [{ dev } = { dev: '' }] = JSON.parse(route) as readonly { readonly dev: string }[]
  await provider.exec(secondNode, ['ip', 'link', 'delete', dev])
  const check = 'set +e; /opt/cni/bin/tullectl check; echo "exit code $?"'
  const said = await provider.exec(secondNode, ['bash', '-c', check])
  t.match(said, /lease-without-link/, 'what is wrong')
  t.match(said, address, 'and with which address')
  t.match(said, /exit code 4/)
  await kubernetes.deletePods(['cut-off'])
})

t.test('the disk of ipamd is full: a new pod is told so, others go on, and it starts when there is room', async t => {
  await withSmallDisk({ provider, daemons, nodeName: secondNode }, async () => {
    const full = await fillDisk(provider, secondNode)
    await kubernetes.createPod(serverPod({ name: 'waiting', nodeName: secondNode }))
    const said = await until('the pod to be told', async () =>
      (await kubernetes.eventsOf('waiting')).find(message => /full|no space/i.test(message)),
    )
    t.match(said, /plugin type="tulle" failed/, said)
    await everyPodReachesEveryOther(t)
    await full.remove()
    const [pod] = await kubernetes.readyPods(['waiting'])
    t.equal(pod?.addresses.length, 2)
    await kubernetes.deletePods(['waiting'])
  })
})

t.test('from auto to vxlan, to direct and back: pods reach each other after each change', async t => {
  const before = await daemons.setRoutingMode('vxlan')
  t.teardown(async () => void (await daemons.setRoutingMode(before)))
  for (const nodeName of nodeNames) {
    const devices = (await routesToNodes(provider, nodeName)).map(({ device }) => device)
    t.same([...new Set(devices)], ['vx-tulle'], `every route of ${nodeName} is in the tunnel`)
  }
  await everyPodReachesEveryOther(t)
  await daemons.setRoutingMode('direct')
  await t.rejects(provider.exec(firstNode, ['ip', 'link', 'show', 'vx-tulle']), /does not exist/, 'no tunnel')
  // The third node may be on another link, where nothing is reached directly.
  await reach(t, podOf(firstNode), podOf(secondNode))
  await reach(t, podOf(secondNode), podOf(firstNode))
  await daemons.setRoutingMode(before)
  await everyPodReachesEveryOther(t)
})

/** Deletes a route on a node. @returns how long it was away, in milliseconds, on the clock of the node itself. */
async function deleteRoute(nodeName: string, to: string): Promise<number> {
  const family = to.includes(':') ? '-6' : '-4'
  const script = `
    ip $0 route delete $1 protocol 118
    deleted=$(date +%s%N)
    until [ -n "$(ip $0 route show exact $1 protocol 118)" ]; do
      (( $(date +%s%N) - deleted < ${REPAIR_MS} * 1000000 )) || exit 1
    done
    echo $(( ($(date +%s%N) - deleted) / 1000 ))`
  const saidUs = await provider.exec(nodeName, ['bash', '-euc', script, family, to], REPAIR_MS + 10_000)
  return Number(saidUs) / 1000
}

async function tablesOf(nodeName: string): Promise<readonly string[]> {
  const lines = (await provider.exec(nodeName, ['nft', 'list', 'tables'])).trim().split('\n')
  return lines.map(line => line.replace(/^table /, ''))
}

/** Whether pods of other nodes see the pod of this node, and not the node. */
async function keepsItsSource(nodeName: string): Promise<boolean> {
  const from = podOf(nodeName)
  for (const to of pods.filter(pod => pod !== from)) {
    for (const address of to.addresses) {
      const seen = await seenOverTcp(kubernetes, from.name, httpOf(address))
      if (seen !== sameFamily(from.addresses, address)) return false
    }
  }
  return true
}

async function everyPodReachesEveryOther(t: Test): Promise<void> {
  for (const from of pods) for (const to of pods) if (from !== to) await reach(t, from, to)
}

async function reach(t: Test, from: ReadyPod, to: ReadyPod): Promise<void> {
  for (const address of to.addresses) {
    const own = sameFamily(from.addresses, address)
    t.equal(await seenOverTcp(kubernetes, from.name, httpOf(address)), own, `${wayOf(from, to)} at ${address}`)
  }
}

function podOf(nodeName: string): ReadyPod {
  const found = pods.find(pod => pod.nodeName === nodeName)
  if (found === undefined) throw new Error(`no pod on ${nodeName}`)
  return found
}

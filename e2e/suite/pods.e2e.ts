// Pods reach each other, nodes and the world, on one node and across nodes, with the addresses that they have.
import t from 'tap'
import { seenFromOutside, serveClientAddress } from './harness/outside.ts'
import { serverPod } from './harness/pods.ts'
import { setUp } from './harness/setting.ts'
import {
  familyOf,
  httpOf,
  mtuOf,
  pingWithoutFragments,
  sameFamily,
  seenOverTcp,
  seenOverUdp,
  udpOf,
  wayOf,
} from './harness/traffic.ts'

const { kubernetes, provider, nodeNames } = await setUp()

/** Two pods on the first node, one on each other node: both links, and both ways between two nodes, are covered. */
const pods = await kubernetes.runPods(
  [nodeNames[0] ?? '', ...nodeNames].map((nodeName, index) => serverPod({ name: `pod-${index}`, nodeName })),
)
const hosts = await kubernetes.runPods(
  nodeNames.map(nodeName => serverPod({ name: `host-${nodeName}`, nodeName, hostNetwork: true })),
)
const pairs = pods.flatMap(from => pods.filter(to => to !== from).map(to => ({ from, to })))

t.test('every pod has an address of each family, and no two have the same', async t => {
  for (const pod of pods) t.same(pod.addresses.map(familyOf), ['IPv4', 'IPv6'], pod.name)
  const all = pods.flatMap(({ addresses }) => addresses)
  t.equal(new Set(all).size, all.length, 'invariant 1')
})

t.test('every pod reaches every pod over TCP and UDP, and is seen with its own address', async t => {
  for (const { from, to } of pairs) {
    for (const address of to.addresses) {
      const own = sameFamily(from.addresses, address)
      t.equal(await seenOverTcp(kubernetes, from.name, httpOf(address)), own, `TCP, ${wayOf(from, to)} to ${address}`)
      t.equal(await seenOverUdp(kubernetes, from.name, udpOf(address)), own, `UDP, ${wayOf(from, to)} to ${address}`)
    }
  }
})

t.test('packets as large as the MTU pass unfragmented, and larger ones are refused at once', async t => {
  for (const { from, to } of pairs) {
    const mtuBytes = await mtuOf(kubernetes, from.name)
    for (const address of to.addresses) {
      const whole = await pingWithoutFragments(kubernetes, from.name, { address, packetBytes: mtuBytes })
      t.ok(whole.isAnswered, `${mtuBytes} bytes, ${wayOf(from, to)} to ${address}`, { said: whole.said })
      const larger = await pingWithoutFragments(kubernetes, from.name, { address, packetBytes: mtuBytes + 1 })
      t.notOk(larger.isAnswered, `${mtuBytes + 1} bytes, ${wayOf(from, to)} to ${address}`)
      t.match(larger.said, /message too long/i, 'the kernel of the pod says why')
    }
  }
})

t.test('a pod reaches every node, which sees its own address, and nodes reach every pod', async t => {
  for (const host of hosts) {
    for (const pod of pods) {
      for (const address of host.addresses) {
        const own = sameFamily(pod.addresses, address)
        t.equal(await seenOverTcp(kubernetes, pod.name, httpOf(address)), own, `${wayOf(pod, host)} to ${address}`)
      }
      for (const address of pod.addresses) {
        const seen = await seenOverTcp(kubernetes, host.name, httpOf(address))
        // Which of its addresses a node uses is the dataplane's choice; that it can be answered is what counts.
        t.equal(familyOf(seen), familyOf(address), `${wayOf(host, pod)} to ${address}, seen as ${seen}`)
      }
    }
  }
})

t.test('a pod leaves the cluster with an address of its node, and reaches nodes with its own', async t => {
  const server = await serveClientAddress()
  t.teardown(() => server.close())
  for (const pod of pods) {
    const node = hosts.find(({ nodeName }) => nodeName === pod.nodeName)
    for (const address of provider.outsideAddresses) {
      const seen = await seenOverTcp(kubernetes, pod.name, { address, port: server.port })
      t.equal(seen, sameFamily(node?.addresses ?? [], address), `${pod.name} on ${pod.nodeName} to ${address}`)
    }
  }
})

t.test('hostNetwork pods are reached from outside as their node is', async t => {
  for (const host of hosts) {
    for (const address of host.addresses) {
      const own = sameFamily(provider.outsideAddresses, address)
      t.equal(await seenFromOutside(httpOf(address)), own, `${host.name} at ${address}`)
    }
  }
})

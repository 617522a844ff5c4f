import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { debianParts } from '../parts/debian.ts'
import { keepUp, removeBridge } from './harness/bridge.ts'
import { asObject, asObjects, asString, type JsonObject } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { ping } from './harness/reach.ts'
import { CniRuntime, newAttachment } from './harness/runtime.ts'
import { BIN_FOLDER } from './harness/tulle.ts'
import { addressesOf, leavesNothing, TulleNode } from './harness/tulle-node.ts'

// The bridge as a thing of the node: who makes it, who shares it, and who never touches it (invariant 4).

const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-bridge-'))
t.teardown(() => folder.remove())
const debian = join(await debianParts(['containernetworking-plugins']), 'usr/lib/cni')
const node = Netns.own()

t.test('a conflist of the reference bridge moves over by its type alone, pods that are there included', async t => {
  const ipam = { type: 'host-local', dataDir: join(folder.path, 'moved'), ranges: [[{ subnet: '10.88.0.0/24' }]] }
  const theirs = { type: 'bridge', bridge: 'cni0', isDefaultGateway: true, forceAddress: true, hairpinMode: true, ipam }
  const runtimeOf = (plugin: JsonObject) =>
    new CniRuntime({
      conflist: { cniVersion: '1.0.0', name: 'moved', plugins: [plugin] },
      cniPath: [BIN_FOLDER, debian],
    })
  await using old = await Netns.create('old')
  const oldAttachment = newAttachment(old)
  const before = runtimeOf(theirs)
  const [oldAddress = ''] = addressesOf((await before.add(oldAttachment)).json)
  const bridge = await addressesOn('cni0')

  const after = runtimeOf({ ...theirs, type: 'tulle' })
  await using young = await Netns.create('young')
  const attachment = newAttachment(young)
  const added = await after.add(attachment)
  t.equal(added.exitCode, 0, added.stdout)
  t.equal((await after.check(attachment)).stdout, '')
  t.type(await ping(young, oldAddress, 3), 'number', 'the new pod reaches the old one')
  t.type(await ping(young, '10.88.0.1', 3), 'number', 'and the gateway')
  // What the reference plugin attached, the runtime deletes with the plugin that it has now.
  t.equal((await after.del(attachment)).exitCode, 0)
  t.equal((await before.del(oldAttachment)).exitCode, 0)
  t.equal(await addressesOn('cni0'), bridge, 'the bridge is as it was')
  await removeBridge('cni0')
})

t.test(
  'ADDs at once on a node without a bridge end with one bridge, and a pod for each (A10)',
  { timeout: 110_000 },
  async t => {
    const POD_COUNT = 20
    await using tulle = await TulleNode.start({ plugin: { mode: 'bridge', isDefaultGateway: true }, isFresh: true })
    const pods = await Promise.all(Array.from({ length: POD_COUNT }, () => Netns.create('pod')))
    const attachments = pods.map(pod => newAttachment(pod))
    const added = await Promise.all(attachments.map(attachment => tulle.runtime.add(attachment)))
    t.same(
      added.filter(({ exitCode }) => exitCode !== 0).map(({ stdout }) => stdout),
      [],
    )
    const macs = new Set(added.map(({ json }) => asObjects(json?.['interfaces'], 'interfaces')[0]?.['mac']))
    t.equal(macs.size, 1, 'all of them are told the one hardware address of the bridge')
    const lines = (await node.run(['ip', '-6', '-brief', 'address', 'show', 'cni0'])).match(/fe80:/g) ?? []
    t.equal(lines.length, 1, 'it has one link-local address')
    for (const [one = pods[0], attachment] of pods
      .map((pod, index) => [pod, attachments[index]] as const)
      .slice(0, 3)) {
      if (one === undefined || attachment === undefined) continue
      t.equal((await tulle.runtime.check(attachment)).stdout, '')
      t.type(await ping(one, addressesOf(added.at(-1)?.json)[0] ?? '', 3), 'number')
    }
    const deleted = await Promise.all(attachments.map(attachment => tulle.runtime.del(attachment)))
    t.same(
      deleted.filter(({ exitCode }) => exitCode !== 0).map(({ stdout }) => stdout),
      [],
    )
    t.equal(await node.run(['ip', '-brief', 'link', 'show', 'type', 'veth']), '', 'no link is left')
    t.match(await node.run(['ip', 'link', 'show', 'cni0']), /cni0/, 'the bridge stays')
    for (const pod of pods) await pod.delete()
    await removeBridge('cni0')
  },
)

t.test('GC removes what is stale on a bridge, and leaves the bridge (G1)', async t => {
  await using tulle = await TulleNode.start({ plugin: { mode: 'bridge', isGateway: true } })
  await using _kept = await keepUp('cni0')
  await leavesNothing(t, tulle, async () => {
    await using one = await tulle.attach()
    await using two = await tulle.attach()
    const collector = new CniRuntime({
      conflist: {
        cniVersion: '1.1.0',
        name: 'pods',
        plugins: [{ type: 'tulle', mode: 'bridge', ipam: { type: 'tulle-ipam' } }],
      },
      cniPath: [BIN_FOLDER],
    })
    t.equal((await collector.gc([one.attachment])).exitCode, 0)
    t.same((await tulle.leases()).length, 1)
    t.equal((await tulle.runtime.check(one.attachment)).stdout, '')
    t.equal((await two.netns.execute(['ip', 'link', 'show', 'eth0'])).exitCode, 1)
    await tulle.detach(one)
  })
  await removeBridge('cni0')
})

t.test('a pod has a second network, on a bridge beside its routed one', async t => {
  const second = {
    type: 'tulle',
    mode: 'bridge',
    bridge: 'br1',
    isGateway: true,
    ipam: {
      type: 'host-local',
      dataDir: join(folder.path, 'second'),
      ranges: [[{ subnet: '10.99.0.0/24' }], [{ subnet: 'fd99::/64' }]],
    },
  }
  const runtime = new CniRuntime({
    conflist: { cniVersion: '1.0.0', name: 'second', plugins: [second] },
    cniPath: [BIN_FOLDER, debian],
  })
  await using tulle = await TulleNode.start()
  await using first = await Netns.create('primer')
  await runtime.add({ ...newAttachment(first), ifName: 'net1' })
  await using _kept = await keepUp('br1')
  await first.delete()
  await leavesNothing(t, tulle, async () => {
    await using one = await tulle.attach()
    await using two = await tulle.attach()
    const others = []
    for (const pod of [one, two]) {
      const attachment = { ...pod.attachment, ifName: 'net1' }
      const added = await runtime.add(attachment)
      t.equal(added.exitCode, 0, added.stdout)
      others.push({ attachment, addresses: addressesOf(added.json) })
    }
    for (const address of others[1]?.addresses ?? []) {
      t.type(await ping(one.netns, address, 3), 'number', `${address}, on the second network`)
      t.match(await one.netns.run(['ip', 'route', 'get', address]), /dev net1/)
    }
    for (const address of [two.ipv4, two.ipv6]) t.type(await ping(one.netns, address), 'number', `${address}, routed`)
    for (const { attachment } of others) {
      t.equal((await runtime.check(attachment)).stdout, '')
      t.equal((await runtime.del(attachment)).exitCode, 0)
    }
    for (const pod of [one, two]) {
      t.equal((await tulle.runtime.check(pod.attachment)).stdout, '', 'the first is untouched')
      await tulle.detach(pod)
    }
  })
  await removeBridge('br1')
})

t.test('the hardware address that is asked for is the pod’s, and everybody reaches it, in both modes', async t => {
  const MAC = '02:00:00:00:aa:bb'
  for (const plugin of [{}, { mode: 'bridge', isDefaultGateway: true, macspoofchk: true }]) {
    await using tulle = await TulleNode.start({ plugin: { ...plugin, capabilities: { mac: true } } })
    await using _kept = 'mode' in plugin ? await keepUp('cni0') : await Netns.create('nobody')
    await leavesNothing(t, tulle, async () => {
      await using other = await tulle.attach()
      await using netns = await Netns.create('pod')
      const attachment = { ...newAttachment(netns), capabilities: { mac: MAC } }
      const added = await tulle.runtime.add(attachment)
      t.equal(added.exitCode, 0, added.stdout)
      const last = asObjects(added.json?.['interfaces'], 'interfaces').at(-1)
      t.equal(asString(asObject(last, 'interface')['mac'], 'mac'), MAC)
      t.match(await netns.run(['ip', 'link', 'show', 'eth0']), new RegExp(MAC))
      for (const address of addressesOf(added.json)) {
        t.type(await ping(node, address, 3), 'number', `node to ${address}`)
        t.type(await ping(other.netns, address, 3), 'number', `pod to ${address}`)
      }
      t.equal((await tulle.runtime.check(attachment)).stdout, '')
      t.equal((await tulle.runtime.del(attachment)).exitCode, 0)
      await tulle.detach(other)
    })
    if ('mode' in plugin) await removeBridge('cni0')
  }
})

t.test('a plugin behind ours may change the hardware address of a pod on a bridge', async t => {
  const MAC = '02:00:00:00:be:ef'
  const plugins = [
    { type: 'tulle', mode: 'bridge', isDefaultGateway: true, ipam: { type: 'tulle-ipam' } },
    { type: 'tuning', mac: MAC },
  ]
  // The network of the one that looks on has no such plugin.
  await using tulle = await TulleNode.start({ plugins: plugins.slice(0, 1), cniVersion: '1.0.0' })
  await using _kept = await keepUp('cni0')
  const runtime = new CniRuntime({
    conflist: { cniVersion: '1.0.0', name: 'pods', plugins },
    cniPath: [BIN_FOLDER, debian],
  })
  await leavesNothing(t, tulle, async () => {
    await using other = await tulle.attach()
    await using netns = await Netns.create('pod')
    const attachment = newAttachment(netns)
    const added = await runtime.add(attachment)
    t.equal(added.exitCode, 0, added.stdout)
    t.match(await netns.run(['ip', 'link', 'show', 'eth0']), new RegExp(MAC))
    for (const address of addressesOf(added.json)) {
      t.type(await ping(node, address, 5), 'number', `node to ${address}`)
      t.type(await ping(other.netns, address, 5), 'number', `pod to ${address}`)
    }
    t.equal((await runtime.check(attachment)).stdout, '', 'CHECK takes it from prevResult (K4)')
    t.equal((await runtime.del(attachment)).exitCode, 0)
    await tulle.detach(other)
  })
  await removeBridge('cni0')
})

/** The addresses of a link of the node, without its state: a bridge without a port is down. */
async function addressesOn(ifName: string): Promise<string> {
  const line = await node.run(['ip', '-brief', 'address', 'show', ifName])
  return line.split(/\s+/).slice(2).join(' ')
}

import './harness/isolated.ts'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { Background } from './harness/background.ts'
import type { Netns } from './harness/namespace.ts'
import { HOST_IPV4, HOST_IPV6, leavesNothing, TulleNode, type Pod } from './harness/tulle-node.ts'
import { until } from './harness/until.ts'

// How much a pod may send and be sent (checklist R37), measured with real traffic, and that nothing of it stays.

const FLOOD = join(import.meta.dirname, 'harness', 'flood.ts')
const PORT = 7777
const MAX_UINT32 = 4_294_967_295
/** Low, so that a machine with other work can do several times as much. */
const TO_POD = 8_000_000
const FROM_POD = 4_000_000
/** What a measurement of a few seconds may take where others use the machine too, in milliseconds. */
const MEASURE_TIMEOUT_MS = 60_000
/** As containerd passes the annotations kubernetes.io/ingress-bandwidth and egress-bandwidth. */
const LIMITS = { ingressRate: TO_POD, ingressBurst: MAX_UINT32, egressRate: FROM_POD, egressBurst: MAX_UINT32 }

/** The bits of TCP payload that arrive in a second. */
async function measure(from: Netns, to: Netns, address: string): Promise<number> {
  await using sink = Background.start(to.command([process.execPath, FLOOD, 'sink', address, String(PORT)]))
  await sink.until('the sink listens', () => sink.lines.includes('listening'))
  await using _pour = Background.start(from.command([process.execPath, FLOOD, 'pour', address, String(PORT)]))
  const measured = () => sink.lines.find(each => each.startsWith('bits/s '))
  const line = await until('the sink has measured', measured, MEASURE_TIMEOUT_MS)
  return Number(line.split(' ')[1])
}

/** Wide, because the machine that measures may be busy: a limit that is not there, or of bytes for bits, is far outside. */
function assertRate(t: Test, rate: number, { of, what }: { readonly of: number; readonly what: string }) {
  t.ok(rate > of * 0.5 && rate < of * 1.5, `${what}: ${(rate / 1e6).toFixed(2)} Mbit/s of ${of / 1e6}`)
}

const CAPABILITIES = { capabilities: { bandwidth: true } }
const MODES = [
  { mode: 'transparent', plugin: CAPABILITIES },
  { mode: 'bridge', plugin: { ...CAPABILITIES, mode: 'bridge', isDefaultGateway: true } },
]
for (const { mode, plugin } of MODES) {
  t.test(`a pod in ${mode} mode sends and is sent what the runtime allows it, IPv4 and IPv6 together`, async t => {
    await using node = await TulleNode.start({ plugin })
    await leavesNothing(t, node, async () => {
      await using pod = await node.attach(undefined, { bandwidth: LIMITS })
      for (const [own, host] of [
        [pod.ipv4, HOST_IPV4],
        [pod.ipv6, HOST_IPV6],
      ] as const) {
        assertRate(t, await measure(node.netns, pod.netns, own), { of: TO_POD, what: `to ${own}` })
        assertRate(t, await measure(pod.netns, node.netns, host), { of: FROM_POD, what: `from ${own}` })
      }
      t.equal((await node.runtime.check(pod.attachment)).stdout, '')
      await node.detach(pod)
      await using free = await node.attach()
      t.ok((await measure(node.netns, free.netns, free.ipv4)) > TO_POD * 2, 'who has no limit is not limited')
      t.ok((await measure(free.netns, node.netns, HOST_IPV6)) > FROM_POD * 2, 'who has no limit is not limited')
      await node.detach(free)
    })
    if (mode === 'bridge') await node.netns.run(['ip', 'link', 'delete', 'cni0'])
  })
}

t.test('limits of the configuration hold for every pod, unless the runtime has others (E8)', async t => {
  await using node = await TulleNode.start({ plugin: { ...CAPABILITIES, ingressRate: 40_000_000 } })
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    t.match(await node.netns.run(['tc', 'qdisc', 'show', 'dev', pod.hostIfName]), /qdisc tbf .* rate 40Mbit /)
    await using other = await node.attach(undefined, { bandwidth: { egressRate: 8 } })
    t.notMatch(await node.netns.run(['tc', 'qdisc', 'show', 'dev', other.hostIfName]), /tbf/)
    t.match(await node.netns.run(['tc', 'qdisc', 'show', 'dev', ifbOf(other)]), /qdisc tbf .* rate 8bit /)
    await node.detach(pod)
    await node.detach(other)
  })
})

t.test('DEL takes the limits away without namespace, result or ipamd, GC and the reconciler without DEL', async t => {
  await using node = await TulleNode.start({
    plugin: CAPABILITIES,
    ipamd: { reconcile: { intervalSeconds: 1, graceSeconds: 1 } },
  })
  await leavesNothing(t, node, async () => {
    const lost = await node.attach(undefined, { bandwidth: LIMITS })
    await lost.netns.delete()
    t.match(await linksOf(node), ifbOf(lost), 'it does not go with the namespace')
    const gone = { ...lost.attachment, netnsPath: '', capabilities: {} }
    t.equal((await node.runtime.del(gone, { isResultLost: true })).exitCode, 0)
    t.notMatch(await linksOf(node), ifbOf(lost), 'DEL')

    const collected = await node.attach(undefined, { bandwidth: LIMITS })
    await collected.netns.delete()
    t.equal((await node.runtime.gc([])).exitCode, 0)
    t.notMatch(await linksOf(node), ifbOf(collected), 'GC')

    const forgotten = await node.attach(undefined, { bandwidth: LIMITS })
    await forgotten.netns.delete()
    await until(
      'the reconciler has removed it',
      async () => !(await linksOf(node)).includes(ifbOf(forgotten)) || undefined,
    )
    await node.runtime.del(forgotten.attachment)
  })
})

t.test('CHECK names a limit that somebody took away or changed, by the command that would bring it back', async t => {
  await using node = await TulleNode.start({ plugin: CAPABILITIES })
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach(undefined, { bandwidth: LIMITS })
    const dev = ['dev', pod.hostIfName] as const
    const checked = async () => (await node.runtime.check(pod.attachment)).json
    await node.netns.run([
      'tc',
      'qdisc',
      'change',
      ...dev,
      'root',
      'tbf',
      'rate',
      '30mbit',
      'burst',
      '64kb',
      'limit',
      '128kb',
    ])
    t.match(await checked(), { code: 106, msg: `${pod.hostIfName} shapes to 30000000 bits/s` })
    await node.netns.run(['tc', 'qdisc', 'delete', ...dev, 'root'])
    t.match(await checked(), { code: 106, msg: `want: tc qdisc add dev ${pod.hostIfName} root tbf rate 1000000bps` })
    await node.netns.run(['tc', 'filter', 'delete', ...dev, 'ingress'])
    t.match(await checked(), { details: `${pod.hostIfName} does not lead what arrives through ${ifbOf(pod)}` })
    await node.netns.run(['ip', 'link', 'delete', ifbOf(pod)])
    t.match(await checked(), { details: `link ${ifbOf(pod)} is missing` })
    await node.detach(pod)
  })
})

t.test('tulle-node does the same without ipamd: what one host of the engine makes, the other takes away', async t => {
  await using node = await TulleNode.start({ plugin: CAPABILITIES })
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach(undefined, { bandwidth: LIMITS })
    await node.stopIpamd()
    t.equal((await node.runtime.del(pod.attachment)).exitCode, 0)
    t.notMatch(await linksOf(node), /tib/)
    await node.startIpamd()
    await until('the release is replayed', async () => (await node.leases()).length === 0 || undefined)
  })
})

function ifbOf({ hostIfName }: Pod): string {
  return hostIfName.replace(/^tul/, 'tib')
}

async function linksOf(node: TulleNode): Promise<string> {
  return await node.netns.run(['ip', '-brief', 'link'])
}

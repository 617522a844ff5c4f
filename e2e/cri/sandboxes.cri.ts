// Real containerd and runc make pods with Tulle: what kubelet does, without kubelet. The tests share one node, one containerd
// and one ipamd, and run in order; each leaves the node as it found it, and says so.
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { containsAddress, parsePrefix } from '../../lib/net/prefix.ts'
import { findCgroups } from './harness/cgroup.ts'
import { startContainerd } from './harness/containerd.ts'
import { POOL_PREFIXES, SPOOL_DIR, readLeases, startIpamd } from './harness/ipamd.ts'
import { readNodeState } from './harness/node-state.ts'
import type { NodeState } from './harness/node-state.ts'
import type { Pod } from './harness/pods.ts'
import { Pods } from './harness/pods.ts'
import { readInvocations } from './harness/recorder.ts'
import { whyNoSandboxes } from './harness/requirements.ts'
import { until } from './harness/until.ts'

const ROOT = join(import.meta.dirname, '..', '..')
const BIN_DIR = join(ROOT, 'dist', 'bin')
const IPAMD = join(BIN_DIR, 'ipamd')
const CONFLIST = join(ROOT, 'conflist', '10-tulle.conflist')
const MANY = 20
const PING = ['ping', '-n', '-c', '2', '-i', '0.1', '-W', '2'] as const

const reason = await whyNoSandboxes()
if (reason === undefined) await sandboxTests()
else t.plan(0, `no pod sandboxes on this machine: ${reason}`)

async function sandboxTests(): Promise<void> {
  const runtime = await startContainerd({ cniBinDir: BIN_DIR, conflistFile: CONFLIST })
  t.teardown(async () => runtime.stop())
  const { node, cri } = runtime
  t.comment(`the runtime is ${await cri.version()} with ${node.snapshotter}`)
  let ipamd = await startIpamd(node, IPAMD)
  t.teardown(() => {
    if (!t.passing()) t.comment(`ipamd said:\n${ipamd.log}\ncontainerd said:\n${runtime.log}`)
  })
  const pods = new Pods(runtime)
  let clean: NodeState

  t.test('the first pod leaves only what belongs to the node', async t => {
    const before = await readNodeState(node)
    const pod = await pods.run()
    const during = await readNodeState(node)
    t.equal(during.links.length, before.links.length + 1, 'what a pod adds is seen: a link')
    t.equal(during.neighbours.length, before.neighbours.length + pod.addresses.length, 'its neighbours')
    t.ok(during.files.some(isOf(pod)), 'its files')

    await pods.remove(pod)
    // The routes of the blocks and the nftables table stay: from here on nothing may be added.
    clean = await readNodeState(node)
    t.same(clean.links, before.links, 'no link is left')
    t.same(
      clean.routes.filter(route => pod.addresses.some(address => route.startsWith(`${address} `))),
      [],
      'no route is left',
    )
    t.same(clean.files.filter(isOf(pod)), [], 'no file is left')
    t.same(clean.neighbours, before.neighbours, 'no neighbour is left')
    t.same(clean.processes, before.processes, 'no process is left')
    t.same(await readLeases(node), [], 'no lease is left')
  })

  t.test('RunPodSandbox gives the pod an address of each family of the pool', async t => {
    const pod = await pods.run()
    t.equal(pod.isReady, true)
    t.equal(pod.addresses.length, POOL_PREFIXES.length, 'one address for each prefix')
    for (const [index, prefix] of POOL_PREFIXES.entries()) {
      const address = parseAddress(pod.addresses[index] ?? '')
      t.ok(containsAddress(parsePrefix(prefix), address), `${formatAddress(address)} is in ${prefix}`)
    }
    const lease = (await readLeases(node)).find(({ attachment }) => attachment.containerId === pod.id)
    t.match(lease, { attachment: { ifName: 'eth0' } }, 'ipamd knows the attachment by the ID of the sandbox')
    t.same(lease?.addresses.map(({ address }) => formatAddress(address)).toSorted(), pod.addresses.toSorted())

    const eth0 = await node.exec('nsenter', `--net=${pod.netnsPath}`, 'ip', 'address', 'show', 'dev', 'eth0')
    for (const address of pod.addresses) t.match(eth0, ` ${address}/`, `eth0 has ${address}`)
    t.notMatch(eth0, 'tentative', 'R15: no address is tentative')
    t.match(eth0, ' mtu 1450 ', 'R27: the MTU is that of the uplink')
    await pods.remove(pod)
    await nothingIsLeft(t)
  })

  t.test(
    'a pod gets the addresses that its annotation asks for, and a second pod is told who has them (R33)',
    async t => {
      const asking = { 'tulle.dev/addresses': '10.244.0.77,fd00:10:244::77', 'example.com/other': 'x' }
      const pod = await pods.run(asking)
      t.same(pod.addresses, ['10.244.0.77', 'fd00:10:244::77'])
      const said = await node.exec('nsenter', `--net=${pod.netnsPath}`, 'ip', 'address', 'show', 'dev', 'eth0')
      for (const address of pod.addresses) t.match(said, ` ${address}/`)
      await t.rejects(pods.run(asking), { message: new RegExp(`10\\.244\\.0\\.77: leased by tulle/${pod.id}/eth0`) })
      await t.rejects(pods.run({ 'tulle.dev/addresses': '10.9.0.1' }), {
        message: /10\.9\.0\.1: want an address of pool "default"/,
      })
      await pods.remove(pod)
      await nothingIsLeft(t)
    },
  )

  t.test("a pod is limited as Kubernetes' annotations of bandwidth say, and its limits go with it (R37)", async t => {
    const pod = await pods.run({
      'kubernetes.io/ingress-bandwidth': '8M',
      'kubernetes.io/egress-bandwidth': '4M',
    })
    const qdiscs = (await node.exec('tc', 'qdisc', 'show')).split('\n').filter(line => line.includes(' tbf '))
    t.match(
      qdiscs.find(line => / dev tul/.test(line)),
      / rate 8Mbit /,
      'what the pod is sent',
    )
    t.match(
      qdiscs.find(line => / dev tib/.test(line)),
      / rate 4Mbit /,
      'what it sends',
    )
    t.equal(qdiscs.length, 2)
    await pods.remove(pod)
    await nothingIsLeft(t)
  })

  t.test('two pods ping each other over IPv4 and IPv6', async t => {
    const [one, two] = [await pods.run(), await pods.run()]
    for (const [from, to] of [
      [one, two],
      [two, one],
    ] as const) {
      for (const address of to.addresses) {
        const said = await node.exec('nsenter', `--net=${from.netnsPath}`, ...PING, address)
        t.match(said, ' 2 received, 0% packet loss', `${from.addresses.join()} reaches ${address}`)
      }
    }
    await pods.remove(one)
    await pods.remove(two)
    await nothingIsLeft(t)
  })

  t.test('StopPodSandbox and RemovePodSandbox leave nothing, though DEL runs again without a namespace', async t => {
    const pod = await pods.run()
    await cri.stopPodSandbox(pod.id)
    t.equal((await cri.podSandboxStatus(pod.id)).isReady, false)
    t.same(await readLeases(node), [], 'the lease is released by the first DEL')
    await cri.removePodSandbox(pod.id)

    const ours = (await readInvocations(node)).filter(each => each.plugin === 'tulle' && each.containerId === pod.id)
    t.same(
      ours.map(({ command, ifName, netnsPath }) => [command, ifName, netnsPath]),
      [
        ['ADD', 'eth0', pod.netnsPath],
        ['DEL', 'eth0', pod.netnsPath],
        ['DEL', 'eth0', ''],
      ],
      'D1, E10: the runtime did call DEL a second time, with an empty CNI_NETNS',
    )
    await nothingIsLeft(t)
  })

  t.test(`${String(MANY)} sandboxes in a row never share an address`, async t => {
    const seen: string[] = []
    for (let made = 0; made < MANY; made++) {
      const pod = await pods.run()
      seen.push(...pod.addresses)
      await pods.remove(pod)
    }
    t.equal(new Set(seen).size, 2 * MANY, 'R8: a released address is not handed out again at once')
    await nothingIsLeft(t)
  })

  t.test(`${String(MANY)} sandboxes at once never share an address`, async t => {
    const all = await Promise.all(Array.from({ length: MANY }, async () => pods.run()))
    t.equal(new Set(all.flatMap(({ addresses }) => addresses)).size, 2 * MANY, 'invariant 1')
    t.equal((await readLeases(node)).length, MANY)
    await Promise.all(all.map(async pod => pods.remove(pod)))
    await nothingIsLeft(t)
  })

  t.test('a pod goes away while ipamd is dead, and its lease is freed when ipamd is back', async t => {
    const pod = await pods.run()
    await ipamd.end('SIGKILL', 5_000)
    await pods.remove(pod)
    const { links, routes, neighbours } = await readNodeState(node)
    t.same(links, clean.links, 'R13: DEL needs no daemon to take the link down')
    t.same(routes, clean.routes, 'nor the routes')
    t.same(neighbours, clean.neighbours, 'nor the neighbours')
    // Beside it lies the count of the calls that were done without ipamd.
    const releases = (await readdir(node.pathOf(SPOOL_DIR))).filter(name => !name.startsWith('fallback.'))
    t.equal(releases.length, 1, 'R13: its release is in the spool, once')

    ipamd = await startIpamd(node, IPAMD)
    await until('the spool to be replayed', async () => ((await readLeases(node)).length === 0 ? true : undefined))
    await nothingIsLeft(t)
  })

  t.test('RunPodSandbox fails while ipamd is dead, leaves nothing, and works when ipamd is back', async t => {
    await ipamd.end('SIGKILL', 5_000)
    await t.rejects(pods.run(), { message: /ipamd/ }, 'the error names what is down')
    ipamd = await startIpamd(node, IPAMD)
    await nothingIsLeft(t)
    await pods.remove(await pods.run())
    await nothingIsLeft(t)
  })

  t.test('SIGTERM ends ipamd in under a second, and the node goes without a trace', async t => {
    await ipamd.end('SIGTERM', 1_000)
    t.same(
      (await node.processes()).map(({ name }) => name),
      ['containerd'],
      'no shim and no plugin is left',
    )
    await runtime.stop()
    t.same(await findCgroups(node.cgroup), [], 'no cgroup is left')
  })

  /** The runtime, the CNI library and Tulle name files after the sandbox; a namespace has a name of its own. */
  function isOf({ id, netnsPath }: Pod): (file: string) => boolean {
    return file => file.includes(id) || file.endsWith(basename(netnsPath))
  }

  /** The node's links, routes, neighbours, rules, files and processes are those after the first test; no lease. */
  async function nothingIsLeft(t: Test): Promise<void> {
    t.same(await readLeases(node), [], 'no lease is left')
    t.same(await readNodeState(node), clean, 'the node is as it was')
  }
}

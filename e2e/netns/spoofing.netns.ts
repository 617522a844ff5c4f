import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { Capture } from './harness/capture.ts'
import { buildIcmpv6Sender, routerAdvertisement } from './harness/icmpv6.ts'
import { addAddresses, connect } from './harness/connect.ts'
import { asObject, asObjects } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { askTcp, ping, serveTcp } from './harness/reach.ts'
import { setSysctl } from './harness/sysctl.ts'
import { HOST_IPV4, HOST_IPV6, type Pod, TulleNode, leavesNothing } from './harness/tulle-node.ts'
import { until } from './harness/until.ts'

/** For ipamd to put the table back: two seconds, on a machine that is not busy. */
const REPAIR_MS = 20_000

// A pod sends under its own addresses alone, and steers nobody but itself (design section 3). Every test here first or last
// shows that it can fail: without the part of Tulle that it is about, the same packets do their work.

const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-spoofing-'))
t.teardown(() => folder.remove())
const icmpv6 = await buildIcmpv6Sender(folder.path)
const node = await TulleNode.start()
t.teardown(() => node[Symbol.asyncDispose]())

/** What the sender pretends to be: the address, and what it is. */
const FORGED: readonly { readonly what: string; readonly of: (victim: Pod) => readonly string[] }[] = [
  { what: "another pod's address", of: victim => [victim.ipv4, victim.ipv6] },
  { what: "the node's own address", of: () => [HOST_IPV4, HOST_IPV6] },
  { what: 'an address of the block that nobody holds', of: () => ['10.244.0.200', 'fd00:10:244::200'] },
  { what: 'an address of somewhere else', of: () => ['203.0.113.9', '2001:db8:2::9'] },
]

for (const { what, of } of FORGED) {
  for (const rpFilter of ['0', '2']) {
    t.test(`a pod cannot send with ${what}, with rp_filter ${rpFilter} for all interfaces`, async t => {
      await using _setting = await setSysctl(node.netns, 'net.ipv4.conf.all.rp_filter', rpFilter)
      await leavesNothing(t, node, async () => {
        await using sender = await node.attach()
        await using victim = await node.attach()
        await using target = await node.attach()
        const sources = of(victim)
        const before = await countedDrops()
        await using seen = await sendForged(t, { sender, target, sources })
        for (const source of sources) t.same(seen.matches(forgedEcho(source)), [], `nothing arrives from ${source}`)
        t.equal((await countedDrops()) - before, sources.length, 'the rule against forged sources has counted each')
        for (const pod of [sender, victim, target]) await node.detach(pod)
      })
    })
  }
}

t.test(
  'the same forged packets arrive without the table inet tulle and rp_filter, and ipamd puts the table back (R18)',
  async t => {
    await leavesNothing(t, node, async () => {
      await using sender = await node.attach()
      await using victim = await node.attach()
      await using target = await node.attach()
      const sources = [victim.ipv4, victim.ipv6]
      // It would put the table back at once.
      await node.stopIpamd()
      await node.netns.run(['nft', 'delete', 'table', 'inet', 'tulle'])
      await node.netns.run(['sysctl', '-q', '-w', `net.ipv4.conf.${sender.hostIfName}.rp_filter=0`])
      await using seen = await sendForged(t, { sender, target, sources })
      for (const source of sources)
        t.equal(seen.matches(forgedEcho(source)).length, 1, `a packet arrives from ${source}`)

      await node.startIpamd()
      const counted = await until('the rules are back', () => countedDrops().catch(() => undefined), REPAIR_MS)
      t.equal(counted, 0, 'they are new')
      const checked = await node.runtime.check(sender.attachment)
      t.equal(checked.json?.['code'], 106, 'CHECK misses what ipamd does not put back (K3)')
      t.match(checked.json?.['details'], /rp_filter is 0/)
      for (const pod of [sender, victim, target]) await node.detach(pod)
    })
  },
)

t.test(
  'a router advertisement of a pod changes nothing on the node, even where new interfaces would accept it',
  async t => {
    await using _setting = await setSysctl(node.netns, 'net.ipv6.conf.default.accept_ra', '2')
    await leavesNothing(t, node, async () => {
      await using pod = await node.attach()
      await addAddresses(pod.netns, { ifName: 'eth0', addresses: ['fe80::bad/64'] })
      const before = await ipv6Of(node.netns)
      await using onNode = await Capture.start(node.netns, { ifName: pod.hostIfName })
      await advertise(pod, onNode)
      t.equal(onNode.matches(/fe80::bad > ff02::1: ICMP6, router advertisement/).length, 1, 'it was really sent')
      t.equal(await ipv6Of(node.netns), before)

      await node.netns.run(['sysctl', '-q', '-w', `net.ipv6.conf.${pod.hostIfName}.accept_ra=2`])
      await advertise(pod, onNode)
      const steered = await ipv6Of(node.netns)
      t.match(steered, /default via fe80::bad dev tul\w+ proto ra/, 'with accept_ra it would take the default route')
      t.match(steered, /2001:db8:bad::\/64 dev tul\w+ proto kernel/, 'and the prefix')
      await node.detach(pod)
    })
  },
)

t.test('a pod cannot reach 127/8 of the node, even with route_localnet on', async t => {
  await using _setting = await setSysctl(node.netns, 'net.ipv4.conf.all.route_localnet', '1')
  await using server = await serveTcp(node.netns, { address: '127.0.0.1', port: 7777 }, 'secret')
  await leavesNothing(t, node, async () => {
    await using pod = await node.attach()
    // The pod does all that it can: 127.0.0.1 is no address of its own any more, and leads to the node.
    await pod.netns.run(['sysctl', '-q', '-w', 'net.ipv4.conf.all.route_localnet=1'])
    await pod.netns.run(['ip', 'address', 'delete', '127.0.0.1/8', 'dev', 'lo'])
    await using onNode = await Capture.start(node.netns, { ifName: pod.hostIfName, filter: ['tcp', 'port', '7777'] })
    t.match(await askTcp(pod.netns, { address: '127.0.0.1', port: 7777 }), /^refused: ETIMEDOUT/)
    t.match(onNode.text, new RegExp(`${pod.ipv4}\\.\\d+ > 127\\.0\\.0\\.1\\.7777: Flags \\[S\\]`), 'it was really sent')

    // It would put the table back at once.
    await node.stopIpamd()
    await node.netns.run(['nft', 'delete', 'table', 'inet', 'tulle'])
    t.match(await askTcp(pod.netns, { address: '127.0.0.1', port: 7777 }), /^secret to /, 'without our rule it can')
    await node.startIpamd()
    await until(
      'the rules are back',
      async () => (await countedDrops().catch(() => undefined)) !== undefined,
      REPAIR_MS,
    )
    t.match(await askTcp(pod.netns, { address: '127.0.0.1', port: 7777 }), /^refused: ETIMEDOUT/, 'repaired')
    await node.detach(pod)
  })
  await server.stop()
})

t.test('a pod that an outsider talks to cannot take the address of the outsider', async t => {
  await leavesNothing(t, node, async () => {
    await using outsider = await Netns.create('outsider')
    await connect(
      { netns: node.netns, ifName: 'up0', addresses: ['198.51.100.1/24'] },
      { netns: outsider, ifName: 'eth0', addresses: ['198.51.100.2/24'] },
    )
    await outsider.run(['ip', 'route', 'add', '10.244.0.0/16', 'via', '198.51.100.1'])
    await using sender = await node.attach()
    await using target = await node.attach()
    t.type(await ping(outsider, target.ipv4), 'number')
    const sources = ['198.51.100.2']
    await using seen = await sendForged(t, { sender, target, sources })
    t.same(seen.matches(forgedEcho('198.51.100.2')), [])
    for (const pod of [sender, target]) await node.detach(pod)
    await node.netns.run(['ip', 'link', 'delete', 'up0'])
  })
})

type Test = Pick<typeof t, 'type' | 'equal'>

interface Forgery {
  readonly sender: Pod
  readonly target: Pod
  readonly sources: readonly string[]
}

/**
 * Sends an echo request to `target` from each of `sources`, then honest ones; asserts that all were really sent, and returns
 * what the target saw, complete up to the honest ones.
 */
async function sendForged(t: Test, { sender, target, sources }: Forgery): Promise<Capture> {
  const seen = await Capture.start(target.netns)
  await using sent = await Capture.start(node.netns, { ifName: sender.hostIfName })
  for (const source of sources) {
    const isIpv4 = source.includes('.')
    await addAddresses(sender.netns, { ifName: 'eth0', addresses: [`${source}/${isIpv4 ? 32 : 128}`] })
    // Nobody answers: the answer, if there is one, goes to whom the address belongs.
    const to = isIpv4 ? target.ipv4 : target.ipv6
    await sender.netns.execute(['ping', '-n', '-c', '1', '-W', '0.2', '-I', source, to])
  }
  // A packet is handed on before the sender's system call returns: whatever came through came before these.
  for (const [from, to] of [
    [sender.ipv4, target.ipv4],
    [sender.ipv6, target.ipv6],
  ] as const) {
    const command = ['ping', '-n', '-c', '1', '-W', '2', '-I', from, to] as const
    t.equal((await sender.netns.execute(command)).exitCode, 0, `an honest packet from ${from} arrives`)
    await seen.until(forgedEcho(from))
  }
  for (const source of sources) {
    t.equal(sent.matches(forgedEcho(source)).length, 1, `a packet from ${source} was really sent`)
  }
  await sent.stop()
  await seen.stop()
  return seen
}

function forgedEcho(source: string): RegExp {
  return new RegExp(`IP6? ${source} > \\S+: ICMP6?,? echo request`)
}

/** Sends the advertisement, and an echo request after it on the same link: once that is answered, the advertisement was handled. */
async function advertise(pod: Pod, onNode: Capture): Promise<void> {
  await icmpv6.sendToAllNodes(pod.netns, 'eth0', routerAdvertisement())
  await pod.netns.run(['ping', '-n', '-c', '1', '-W', '2', '-I', pod.ipv6, HOST_IPV6])
  await onNode.until(/ICMP6, echo reply/)
}

/** The node's IPv6 routes and addresses. */
async function ipv6Of(netns: Netns): Promise<string> {
  const routes = await netns.run(['ip', '-6', 'route', 'show', 'table', 'all'])
  const addresses = await netns.run(['ip', '-6', '-oneline', 'address', 'show'])
  return `${routes}${addresses}`.replaceAll(/ (expires|valid_lft|preferred_lft) \S+/g, '')
}

/** How many packets the rule against forged source addresses has dropped since it was written. */
async function countedDrops(): Promise<number> {
  const listed = asObject(JSON.parse(await node.netns.run(['nft', '--json', 'list', 'table', 'inet', 'tulle'])), 'nft')
  const rules = asObjects(listed['nftables'], 'nftables').flatMap(({ rule }) =>
    rule === undefined ? [] : [asObject(rule, 'rule')],
  )
  const rule = rules.find(({ comment }) => String(comment).startsWith('spoofed source'))
  const counter = asObjects(rule?.['expr'], 'rule.expr').find(expression => 'counter' in expression)
  return Number(asObject(counter?.['counter'], 'counter')['packets'])
}

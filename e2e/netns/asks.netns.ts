import './harness/isolated.ts'
import { join } from 'node:path'
import t from 'tap'
import { debianParts } from '../parts/debian.ts'
import { Netns } from './harness/namespace.ts'
import { ping } from './harness/reach.ts'
import { CniRuntime, newAttachment, type ChainOutcome, type RuntimeAttachment } from './harness/runtime.ts'
import { addressesOf, DUAL_STACK, HOST_IPV4, HOST_IPV6, leavesNothing, TulleNode } from './harness/tulle-node.ts'
import { BIN_FOLDER } from './harness/tulle.ts'
import { until } from './harness/until.ts'
import { asObjects, type JsonObject } from './harness/json.ts'

// Pods that ask for certain addresses (checklist 1.14, E8; R33), against the executables and the kernel.

const ANNOTATIONS = 'io.kubernetes.cri.pod-annotations'
const CAPABILITIES = { capabilities: { ips: true, ipRanges: true, [ANNOTATIONS]: true } }
const COOLDOWN_SECONDS = 1
const [V4, V6] = ['10.244.0.77', 'fd00:10:244::77'] as const

type Asking = Pick<RuntimeAttachment, 'args' | 'capabilities'>

function podArgs(name: string): string {
  return `IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=${name};K8S_POD_UID=u`
}

function annotated(annotations: JsonObject): Asking {
  return { capabilities: { [ANNOTATIONS]: annotations } }
}

const ways: readonly (Asking & { readonly name: string; readonly plugin?: JsonObject })[] = [
  { name: 'the capability ips', capabilities: { ips: [`${V4}/16`, V6] } },
  { name: 'a pod annotation', ...annotated({ 'tulle.dev/addresses': `${V4}, ${V6}` }) },
  { name: 'args.cni.ips', plugin: { args: { cni: { ips: [V4, V6], labels: [{ key: 'app', value: 'x' }] } } } },
  { name: 'CNI_ARGS', args: `IP=${V4},${V6}` },
]
for (const { name, plugin, ...asking } of ways) {
  t.test(`a pod gets the addresses that are asked for by ${name}, and they work`, async t => {
    // Without a cooldown: what args asks for, every pod gets, and the one that TulleNode makes first as well.
    const pools = [{ name: 'default', prefixes: DUAL_STACK, cooldownSeconds: 0 }]
    await using node = await TulleNode.start({ plugin: { ...CAPABILITIES, ...plugin }, ipamd: { pools } })
    await leavesNothing(t, node, async () => {
      await using netns = await Netns.create('pod')
      const attachment = { ...newAttachment(netns), ...asking }
      t.same(addressesOf(added(await node.runtime.add(attachment))), [V4, V6])
      t.match(await netns.run(['ip', 'address', 'show', 'dev', 'eth0']), `inet ${V4}/32`)
      for (const to of [HOST_IPV4, HOST_IPV6]) t.type(await ping(netns, to), 'number', to)
      t.equal((await node.runtime.check(attachment)).stdout, '')
      t.equal((await node.runtime.del(attachment)).exitCode, 0)
      t.same(await node.leases(), [])
    })
  })
}

t.test('an address that cannot be had is refused with the reason, and nothing is left', async t => {
  await using node = await TulleNode.start({ plugin: CAPABILITIES })
  await leavesNothing(t, node, async () => {
    await using netns = await Netns.create('pod')
    await using other = await Netns.create('pod')
    const holder = { ...newAttachment(netns), capabilities: { ips: [V4] } }
    added(await node.runtime.add(holder))
    const refusals = [
      { ips: [V4], code: 104, msg: new RegExp(`^address ${V4}: leased by pods/${holder.containerId}/eth0$`) },
      {
        ips: ['10.9.0.1'],
        code: 7,
        msg: /^address 10\.9\.0\.1: want an address of pool "default", 10\.244\.0\.0\/16, fd/,
      },
      {
        ips: ['10.244.0.1'],
        code: 7,
        msg: /^address 10\.244\.0\.1: gateway in block 10\.244\.0\.0\/24, never leased$/,
      },
    ]
    for (const { ips, code, msg } of refusals) {
      const refused = { ...newAttachment(other), capabilities: { ips } }
      t.match((await node.runtime.add(refused)).json, { code, msg })
      t.same(
        (await node.leases()).map(({ attachment }) => attachment),
        [{ network: 'pods', containerId: holder.containerId, ifName: 'eth0' }],
      )
      t.equal((await node.runtime.del(refused)).exitCode, 0)
    }
    t.equal((await node.runtime.del(holder)).exitCode, 0)
    t.match((await node.runtime.add({ ...newAttachment(other), capabilities: { ips: [V4] } })).json, {
      code: 11,
      msg: new RegExp(`^address ${V4}: released a short time ago`),
    })
  })
})

t.test('a pod gets its address back within the keep time, and not after it (R33)', async t => {
  const ipamd = {
    pools: [
      {
        name: 'default',
        prefixes: ['10.244.0.0/28'],
        blockPrefixLength: { ipv4: 28 },
        cooldownSeconds: COOLDOWN_SECONDS,
      },
    ],
  }
  await using node = await TulleNode.start({ plugin: CAPABILITIES, ipamd, prefixes: ['10.244.0.0/28'] })
  const keptSeconds = 6
  const sticky: Asking = { args: podArgs('db-0'), ...annotated({ 'tulle.dev/sticky': `${keptSeconds}s` }) }
  const pinned = annotated({ 'tulle.dev/sticky': `${keptSeconds}s`, 'tulle.dev/addresses': '10.244.0.9' })
  t.same(await runAndEnd(node, { ...sticky, ...pinned }), ['10.244.0.9'])

  await until('the cooldown is over', async () => {
    const [pool] = asObjects((await node.ipamd.get('/v1/pools'))['pools'], 'pools')
    return pool?.['cooling'] === 0
  })
  await using netns = await Netns.create('pod')
  const taker = { ...newAttachment(netns), capabilities: { ips: ['10.244.0.9'] } }
  t.match((await node.runtime.add(taker)).json, {
    code: 104,
    msg: /^address 10\.244\.0\.9: kept for "ns\/db-0", free in /,
  })
  t.same(await runAndEnd(node, sticky), ['10.244.0.9'], 'the same owner, which asks for no address')

  await until('it is kept no longer', async () => {
    const { exitCode } = await node.runtime.add(taker)
    return exitCode === 0
  })
  t.same(addressesOf(node.runtime.resultOf(taker)), ['10.244.0.9'], 'anybody may have it now')
  const late = await runAndEnd(node, sticky)
  t.notSame(late, ['10.244.0.9'])
  await node.runtime.del(taker)
})

t.test(
  'addresses of all pods are kept where the configuration says so, and reservations go to their owner',
  async t => {
    const plugin = { ...CAPABILITIES, ipam: { type: 'tulle-ipam', stickySeconds: 600 } }
    await using node = await TulleNode.start({ plugin, prefixes: ['10.244.0.0/16'] })
    const web = await runAndEnd(node, { args: podArgs('web-0') })
    t.notSame(await runAndEnd(node, { args: podArgs('web-1') }), web)
    t.same(await runAndEnd(node, { args: podArgs('web-0') }), web)
  },
)

t.test('a pod chooses the pool by annotation, and a pool that is none is refused by name', async t => {
  const pools = [
    { name: 'default', prefixes: ['10.244.0.0/16'] },
    { name: 'blue', prefixes: ['10.245.0.0/16'] },
  ]
  await using node = await TulleNode.start({ plugin: CAPABILITIES, ipamd: { pools } })
  t.match(await runAndEnd(node, annotated({ 'tulle.dev/pool': 'blue' })), [/^10\.245\./])
  await using netns = await Netns.create('pod')
  const asking = { ...newAttachment(netns), ...annotated({ 'tulle.dev/pool': 'red' }) }
  t.match((await node.runtime.add(asking)).json, { code: 7, msg: 'no pool "red": want one of default, blue' })
})

t.test('pods get addresses of the ranges that are asked for, until those are used up', async t => {
  await using node = await TulleNode.start({ plugin: CAPABILITIES })
  await leavesNothing(t, node, async () => {
    await using one = await Netns.create('pod')
    await using two = await Netns.create('pod')
    const v4 = { subnet: '10.244.0.0/24', rangeStart: '10.244.0.200', rangeEnd: '10.244.0.200' }
    const ask = (ipRanges: readonly unknown[]): Asking => ({ capabilities: { ipRanges } })
    const holder = { ...newAttachment(one), ...ask([[v4], [{ subnet: 'fd00:10:244::8000/113' }]]) }
    t.same(addressesOf(added(await node.runtime.add(holder))), ['10.244.0.200', 'fd00:10:244::8000'])
    const refusals = [
      {
        ipRanges: [[v4]],
        code: 101,
        msg: /^pool "default" has no free IPv4 address in 10\.244\.0\.200; in the whole pool: /,
      },
      {
        ipRanges: [[{ subnet: '10.9.0.0/24' }]],
        code: 7,
        msg: /^range 10\.9\.0\.0-10\.9\.0\.255: want a range in pool "default", 10\.244\.0\.0\/16, fd/,
      },
    ]
    for (const { ipRanges, code, msg } of refusals) {
      const refused = { ...newAttachment(two), ...ask(ipRanges) }
      t.match((await node.runtime.add(refused)).json, { code, msg })
      t.equal((await node.runtime.del(refused)).exitCode, 0)
    }
    t.equal((await node.leases()).length, 1)
    t.equal((await node.runtime.del(holder)).exitCode, 0)
  })
})

t.test('a container under the reference bridge gets the address that is asked of tulle-ipam', async t => {
  const cniPath = [join(await debianParts(['containernetworking-plugins']), 'usr/lib/cni')]
  const bridge = { type: 'bridge', bridge: 'cni0', ...CAPABILITIES, ipam: { type: 'tulle-ipam' } }
  await using node = await TulleNode.start({
    plugins: [bridge],
    prefixes: ['10.244.0.0/16'],
    cniPath,
    cniVersion: '1.0.0',
  })
  await using netns = await Netns.create('pod')
  const attachment = { ...newAttachment(netns), ...annotated({ 'tulle.dev/addresses': V4 }) }
  t.match(added(await node.runtime.add(attachment)), { ips: [{ address: `${V4}/24` }] })
  t.equal((await node.runtime.check(attachment)).stdout, '')
  t.equal((await node.runtime.del(attachment)).exitCode, 0)
  t.same(await node.leases(), [])
  await node.netns.run(['ip', 'link', 'delete', 'cni0'])
})

t.test('ipamd logs the trace that a request of a plugin belongs to (E11)', async t => {
  await using node = await TulleNode.start({ prefixes: ['10.244.0.0/16'] })
  await using netns = await Netns.create('pod')
  const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const wanted = {
    'tulle-ipam': [/"url":"\/v1\/leases".*"vendor=1"/, /"url":"\/v1\/leases\/release"/],
    tulle: [/"msg":"served, exit code 0".*"command":"ADD".*"vendor=1"/, /"served, exit code 0".*"command":"DEL"/],
  }
  for (const [type, want] of Object.entries(wanted)) {
    const seen = node.ipamd.log.length
    const runtime = new CniRuntime({
      conflist: { cniVersion: '1.0.0', name: 'traced', plugins: [{ type, ipam: { type: 'tulle-ipam' } }] },
      cniPath: [BIN_FOLDER],
      env: { TRACEPARENT: traceparent, TRACESTATE: 'vendor=1', BAGGAGE: 'secret=1' },
    })
    const attachment = newAttachment(netns)
    added(await runtime.add(attachment))
    t.equal((await runtime.del(attachment)).exitCode, 0)
    const traced = await until(`both calls of ${type} are in the log`, () => {
      const lines = node.ipamd.log.slice(seen).filter(line => line.includes(traceparent))
      return lines.length >= 2 && lines
    })
    t.match(traced, want, type)
  }
  t.notMatch(node.ipamd.log.join('\n'), /secret/)
})

/** Attaches a pod, detaches it, and returns the addresses that it had. */
async function runAndEnd(node: TulleNode, asking: Asking): Promise<readonly string[]> {
  await using netns = await Netns.create('pod')
  const attachment = { ...newAttachment(netns), ...asking }
  const addresses = addressesOf(added(await node.runtime.add(attachment)))
  const deleted = await node.runtime.del(attachment)
  if (deleted.exitCode !== 0) throw new Error(`DEL: ${deleted.stdout} ${deleted.stderr}`)
  return addresses
}

function added({ exitCode, json, stdout, stderr }: ChainOutcome): JsonObject {
  if (exitCode !== 0 || json === undefined) throw new Error(`ADD: ${stdout} ${stderr}`)
  return json
}

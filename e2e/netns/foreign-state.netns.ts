import './harness/isolated.ts'
import { closeSync, openSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import t from 'tap'
import { openLinuxKernel } from '../../lib/kernel/linux-kernel.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { parseIfName } from '../../lib/net/if-name.ts'
import { formatPrefix } from '../../lib/net/prefix.ts'
import type { ObservedRoute } from '../../lib/plan/observed.ts'
import { NODE_RULESET } from '../../lib/plan/ruleset.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import { loadAddon } from '../../native/addon.ts'
import { buildAddon } from '../../native/build.ts'
import { Netns } from './harness/namespace.ts'

/*
 * What other people have in a node must not break what we read, nor what we keep in our own table.
 */

const FILE = resolve(import.meta.dirname, '../../dist/bin/lib/tulle.node')
await buildAddon(FILE)
const addon = loadAddon(FILE)
const node = Netns.own()
const soon = () => Deadline.in(10_000)

/** Names that the kernel takes and that no configuration of ours could say: Unicode white space, and no UTF-8 at all. */
const STRANGE_NAMES = ['a\u3000b', '\u0085', "$'\\xff\\xfe\\xfd\\xfc\\xfb\\xfa'"] as const

async function shell(script: string): Promise<string> {
  return await node.run(['bash', '-ec', script])
}

function formatRoute({ to, via }: ObservedRoute): string {
  return `${formatPrefix(to)}${via === undefined ? '' : ` via ${formatAddress(via)}`}`
}

for (const name of STRANGE_NAMES) {
  t.test(`a link named ${name} of somebody else keeps us from nothing`, async t => {
    using kernel = openLinuxKernel(addon, { exchange: 'sync' })
    t.teardown(() => shell(`ip link delete ${name}`))
    await shell(`ip link add ${name} type veth peer name other; ip link set other up; ip link set ${name} up`)
    await shell(`ip address add 192.0.2.1/24 dev ${name}; ip route add default via 192.0.2.2`)
    await shell(`ip -6 route add default via fe80::9 dev ${name} proto ra`)
    t.strictSame(await kernel.observeOwnLinks(soon()), [], 'GC')
    t.match(await kernel.observeLinkTowards(parseAddress('203.0.113.1'), soon()), { mtuBytes: 1500 }, 'the MTU of ADD')
    t.equal((await kernel.observeRouterAdvertisementLinks(soon())).length, 1, 'forwarding of ADD')
  })
}

t.test('observeInterface() sees routes with several next hops, and with one of the other family (K4)', async t => {
  using kernel = openLinuxKernel(addon, { exchange: 'sync' })
  t.teardown(() => shell('ip link delete tulx'))
  await shell('ip link add tulx type veth peer name other; ip link set other up; ip link set tulx addrgenmode none up')
  await shell('ip route add 10.9.0.0/24 dev tulx scope link; ip -6 route add fd00::/64 dev tulx')
  await shell('ip -6 route add fd09::/64 via fd00::1; ip -6 route append fd09::/64 via fd00::2')
  await shell('ip route add 10.77.0.0/16 nexthop via 10.9.0.2 dev tulx nexthop via 10.9.0.3 dev tulx')
  await shell('ip route add 10.78.0.0/16 via inet6 fd00::7 dev tulx')
  const observed = await kernel.observeInterface('host', parseIfName('tulx'), soon())
  const routes = observed?.routes.map(formatRoute) ?? []
  for (const want of [
    '10.77.0.0/16 via 10.9.0.2',
    '10.77.0.0/16 via 10.9.0.3',
    '10.78.0.0/16 via fd00::7',
    'fd09::/64 via fd00::1',
    'fd09::/64 via fd00::2',
  ]) {
    t.ok(routes.includes(want), want)
  }
})

// Each leaves rules that look right and do nothing, or that refuse everything.
const BROKEN = [
  ['a dormant table', 'nft add table inet tulle "{ flags dormant; }"'],
  ['a chain of another priority', remade('type filter hook prerouting priority filter; policy accept;')],
  ['a chain with another policy', remade('type filter hook prerouting priority raw; policy drop;')],
  ['a chain without a hook', remade('')],
  ['a chain without a hook in a dormant table', `${remade('')}; nft add table inet tulle "{ flags dormant; }"`],
] as const
for (const [name, script] of BROKEN) {
  t.test(`hasRuleset() is not deceived by ${name}, and replaceRuleset() repairs it`, async t => {
    using kernel = openLinuxKernel(addon, { exchange: 'sync' })
    t.teardown(() => shell('nft flush ruleset'))
    await kernel.replaceRuleset(NODE_RULESET, soon())
    const written = await shell('nft --stateless list table inet tulle')
    await shell(script)
    t.equal(await kernel.hasRuleset(NODE_RULESET, soon()), false)
    await kernel.replaceRuleset(NODE_RULESET, soon())
    t.equal(await kernel.hasRuleset(NODE_RULESET, soon()), true)
    t.equal(await shell('nft --stateless list table inet tulle'), written)
  })
}

/** Deletes our table and makes it again with the same rules in a chain that begins with `head`. */
function remade(head: string): string {
  const edit = `sed "s/type filter hook .*/${head}/"`
  return `rules=$(nft list table inet tulle | ${edit}); nft delete table inet tulle; nft -f - <<< "$rules"`
}

t.test('a kernel may be disposed of twice, and closes nothing of anybody else', async t => {
  await using pod = await Netns.create('pod')
  const before = readdirSync('/proc/self/fd').length
  const kernel = openLinuxKernel(addon, { podNetnsPath: pod.path, exchange: 'sync' })
  await kernel.observeLink('pod', parseIfName('lo'), soon())
  kernel[Symbol.dispose]()
  const others = ['/dev/null', '/dev/null'].map(path => openSync(path, 'r'))
  kernel[Symbol.dispose]()
  for (const fd of others) closeSync(fd)
  await t.rejects(kernel.observeLink('pod', parseIfName('lo'), soon()), { message: /this kernel was disposed: EBADF/ })
  await t.rejects(kernel.observeLink('host', parseIfName('lo'), soon()), { message: /this kernel was disposed: EBADF/ })
  t.equal(readdirSync('/proc/self/fd').length, before)
})

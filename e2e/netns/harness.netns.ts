import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { connect } from './harness/connect.ts'
import { debianPlugins } from './harness/debian-plugins.ts'
import { type JsonObject, asObjects, asString } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { askTcp, ping, serveTcp } from './harness/reach.ts'
import { CniRuntime, newAttachment } from './harness/runtime.ts'
import { snapshotOf, takeSnapshot, compareSnapshots } from './harness/snapshot.ts'

// The harness itself, on plugins that we did not write: while these pass, a failure of another test is a failure of Tulle.

const folder = await mkdtempDisposable('/run/tulle-harness-')
t.teardown(() => folder.remove())
const debian = await debianPlugins(folder.path)
const node = Netns.own()
await node.run(['ip', 'link', 'set', 'lo', 'up'])

for (const cniVersion of ['0.3.1', '0.4.0', '1.0.0']) {
  t.test(`CniRuntime drives ptp, host-local and portmap at ${cniVersion}`, async t => {
    await using pod = await Netns.create('pod')
    await using outsider = await Netns.create('outsider')
    await connect(
      { netns: node, ifName: 'uplink', addresses: ['198.51.100.1/24'] },
      { netns: outsider, ifName: 'eth0', addresses: ['198.51.100.2/24'] },
    )
    const runtime = new CniRuntime({ ...debian, conflist: referenceConflist(cniVersion) })
    const attachment = {
      ...newAttachment(pod),
      capabilities: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] },
    }

    const added = await runtime.add(attachment)
    t.equal(added.exitCode, 0, added.stdout)
    t.equal(added.json?.['cniVersion'], cniVersion)
    t.same(typesOf(added), ['ptp', 'portmap'])
    t.type(await ping(node, addressOf(added.json), 3), 'number', 'the node reaches the pod')
    await using server = await serveTcp(pod, { address: '0.0.0.0', port: 80 }, 'hello')
    t.match(await askTcp(outsider, { address: '198.51.100.1', port: 8080 }), /^hello to /, 'portmap has its iptables')
    await server.kill()

    const deleted = await runtime.del(attachment)
    t.equal(deleted.exitCode, 0, deleted.stdout)
    t.same(typesOf(deleted), ['portmap', 'ptp'], 'DEL in reverse order')
    t.equal(await ping(node, addressOf(added.json)), undefined)
  })
}

t.test(
  'CniRuntime keeps the result for CHECK, and hands each plugin only the capabilities that it declares',
  async t => {
    await using pod = await Netns.create('pod')
    const runtime = new CniRuntime({ ...debian, conflist: referenceConflist('1.0.0') })
    const attachment = { ...newAttachment(pod), capabilities: { ips: ['10.99.0.9'] } }
    const added = await runtime.add(attachment)
    t.equal(added.exitCode, 0, added.stdout)
    t.not(addressOf(added.json), '10.99.0.9', 'ptp does not declare ips')
    const checked = await runtime.check(attachment)
    t.same([checked.exitCode, typesOf(checked)], [0, ['ptp', 'portmap']], checked.stdout)
    await pod.run(['ip', 'link', 'delete', 'eth0'])
    const failed = await runtime.check(attachment)
    t.same([failed.exitCode, typesOf(failed)], [1, ['ptp']], 'and stops at the first that fails')
  },
)

t.test('snapshotOf() sees every kind of leftover', async t => {
  await using host = await Netns.create('host', { isLoopbackUp: true })
  await using file = await mkdtempDisposable(join(folder.path, 'leftover-'))
  const before = await takeSnapshot(host, { folders: [folder.path] })
  t.equal(await snapshotOf(host), await snapshotOf(host), 'and nothing that changes by itself')

  const changes: readonly (readonly [string, ...string[]])[] = [
    ['ip', 'link', 'add', 'left', 'type', 'veth', 'peer', 'name', 'right'],
    ['ip', 'link', 'set', 'left', 'up'],
    ['ip', 'address', 'add', '192.0.2.1/32', 'dev', 'lo'],
    ['ip', 'route', 'add', 'unreachable', '203.0.113.0/24', 'table', '77'],
    ['ip', '-6', 'route', 'add', 'unreachable', '2001:db8::/32'],
    ['ip', 'rule', 'add', 'from', '192.0.2.7', 'lookup', '77'],
    ['ip', '-6', 'rule', 'add', 'from', '2001:db8::7', 'lookup', '77'],
    ['ip', 'neighbour', 'add', '192.0.2.9', 'lladdr', '02:00:00:00:00:09', 'dev', 'left', 'nud', 'permanent'],
    ['ip', 'neighbour', 'add', 'proxy', '192.0.2.8', 'dev', 'left'],
    ['nft', 'add', 'table', 'inet', 'leftover'],
    ['touch', join(file.path, 'lock')],
  ]
  for (const change of changes) await host.run(change)
  await host.writeSysctl('net/ipv6/conf/all/forwarding', '1')

  const { added } = compareSnapshots(before, await takeSnapshot(host, { folders: [folder.path] }))
  const titles = [...new Set(added.map(entry => entry.slice(0, entry.indexOf(':'))))]
  t.same(
    titles,
    before.map(section => section.title),
    'a difference in every section',
  )
})

function referenceConflist(cniVersion: string): JsonObject {
  const ipam = {
    type: 'host-local',
    dataDir: join(folder.path, 'host-local'),
    // IPv4 only: with IPv6, ptp 1.1 waits 2 s for duplicate address detection.
    ranges: [[{ subnet: '10.99.0.0/24' }]],
    routes: [{ dst: '0.0.0.0/0' }],
  }
  const portmap = { type: 'portmap', capabilities: { portMappings: true }, snat: true }
  return { cniVersion, name: 'reference', plugins: [{ type: 'ptp', ipam }, portmap] }
}

function typesOf(outcome: { readonly calls: readonly { readonly type: string }[] }): readonly string[] {
  return outcome.calls.map(call => call.type)
}

/** The first address of a result, without its prefix length. */
function addressOf(result: JsonObject | undefined): string {
  const [first] = asObjects(result?.['ips'], 'ips')
  return asString(first?.['address'], 'ips[0].address').replace(/\/.*/, '')
}

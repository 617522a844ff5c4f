import './harness/isolated.ts'
import { join } from 'node:path'
import t from 'tap'
import { askTcp, serveTcp } from './harness/reach.ts'
import { attachWithPorts, startNodeWithPorts, WEB } from './harness/ports.ts'
import { HOST_IPV4, leavesNothing, type TulleNode } from './harness/tulle-node.ts'
import { BIN_FOLDER } from './harness/tulle.ts'
import { until } from './harness/until.ts'

// Whoever reloads a firewall may flush what pods live by. ipamd puts it back within 2 seconds, and counts it (checklist R18).

const REPAIRED_WITHIN_MS = 2_000

async function table(node: TulleNode): Promise<string> {
  const { stdout } = await node.netns.execute(['nft', '--stateless', 'list', 'table', 'inet', 'tulle'])
  // The order of elements follows their hash, and where they were put.
  return stdout
    .replaceAll(/[{}\t]/g, '')
    .split(/\n|, /)
    .map(line => line.trim())
    .toSorted()
    .join('\n')
}

/** The prefixes of the pools are the node's, and stay. */
function withoutPools(text: string): string {
  return text.replaceAll(/^elements = +(10\.244\.0\.0\/16|fd00:10:244::\/56)\n/gm, '')
}

async function repairs(node: TulleNode): Promise<number> {
  const metrics = await node.ipamd.text('/metrics')
  const counts = [...metrics.matchAll(/^tulle_ipamd_nftables_repairs_total\{.*\} (\d+)$/gm)]
  return counts.reduce((sum, [, count]) => sum + Number(count), 0)
}

const VANDALS = [
  ['everything', ['nft', 'flush', 'ruleset']],
  ['the table', ['nft', 'delete', 'table', 'inet', 'tulle']],
  ['one chain', ['nft', 'flush', 'chain', 'inet', 'tulle', 'hostports']],
  ['the rules against forged addresses', ['nft', 'flush', 'chain', 'inet', 'tulle', 'from-pods']],
  ['one element', ['nft', 'delete', 'element', 'inet', 'tulle', 'hostports-4', '{ tcp . 8080 }']],
  ['all of a set', ['nft', 'flush', 'set', 'inet', 'tulle', 'hairpins-4']],
  ['who is masqueraded', ['nft', 'flush', 'map', 'inet', 'tulle', 'masquerade-4']],
  ['the prefixes of the pools', ['nft', 'flush', 'set', 'inet', 'tulle', 'pools-4']],
  ['nothing, but adds a rule', ['nft', 'insert', 'rule', 'inet', 'tulle', 'hostports-in', 'return']],
  ['nothing, but puts the table to sleep', ['nft', 'add', 'table', 'inet', 'tulle', '{ flags dormant; }']],
] as const

t.test('whatever somebody flushes is back within 2 seconds', async t => {
  await using node = await startNodeWithPorts({ plugin: { ipMasq: true } })
  // The order of the chains is that in which they were made, so the table is compared by its lines.
  const atFirst = await table(node)
  await using pod = await attachWithPorts(node, WEB, { ...WEB, protocol: 'udp' })
  await using other = await attachWithPorts(node, { ...WEB, hostPort: 9090 })
  await using server = await serveTcp(pod.netns, { address: pod.ipv4, port: 80 }, 'web')
  await until('the pools are known', async () => (await table(node)).includes('10.244.0.0/16'))
  const before = await table(node)
  for (const [what, command] of VANDALS) {
    const counted = await repairs(node)
    await node.netns.run(command)
    t.not(await table(node), before, what)
    const sinceMs = performance.now()
    await until(`${what} is back`, async () => (await table(node)) === before)
    const tookMs = performance.now() - sinceMs
    t.ok(tookMs < REPAIRED_WITHIN_MS, `flushes ${what}: back after ${Math.round(tookMs)} ms`)
    await until('it is counted', async () => (await repairs(node)) > counted)
  }
  const status = await node.netns.run([join(BIN_FOLDER, 'tullectl'), 'status'])
  t.match(status, /nftables was put right since ipamd started:\n/, 'and told to whoever asks')
  t.match(status, /\n {2}rules: [0-9]+ times, the last at [^ ]+Z \(chains or sets were missing or changed\)\n/)
  t.match(status, /\n {2}pools: [^\n]+, the last at /)
  t.match(await askTcp(node.netns, { address: HOST_IPV4, port: 8080 }), 'web to ')
  t.equal((await node.runtime.check(pod.attachment)).stdout, '')
  await server.stop()
  await node.detach(pod)
  await node.detach(other)
  t.equal(withoutPools(await table(node)), withoutPools(atFirst), 'nothing is left')
})

t.test(
  'a flush while ipamd is down is repaired when it starts, and what was left without an interface is removed',
  async t => {
    await using node = await startNodeWithPorts()
    await leavesNothing(t, node, async () => {
      await using pod = await attachWithPorts(node, WEB)
      const lost = await attachWithPorts(node, { ...WEB, hostPort: 9090 })
      await node.stopIpamd()
      await lost.netns.delete()
      await node.netns.run(['nft', 'delete', 'element', 'inet', 'tulle', 'hostports-4', '{ tcp . 8080 }'])
      await node.startIpamd()
      const ports = async () => await node.netns.run(['nft', 'list', 'map', 'inet', 'tulle', 'hostports-4'])
      await until('its port is back', async () => (await ports()).includes('tcp . 8080 '))
      await until('the other is gone', async () => !(await ports()).includes('tcp . 9090 '))
      t.equal((await node.runtime.del({ ...lost.attachment, netnsPath: '' })).exitCode, 0)
      await node.detach(pod)
    })
  },
)

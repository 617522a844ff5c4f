import './harness/isolated.ts'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { debianPlugins } from './harness/debian-plugins.ts'
import type { JsonObject } from './harness/json.ts'
import { Netns } from './harness/namespace.ts'
import { attachWithPorts, startNodeWithPorts, WEB } from './harness/ports.ts'
import { newAttachment, type ChainOutcome } from './harness/runtime.ts'
import { HOST_IPV4, HOST_IPV6, leavesNothing, type TulleNode } from './harness/tulle-node.ts'

// Ports of the node that lead to pods: who may have them, and that nothing of them stays.

/** ADD that is expected to fail, and the DEL after it. */
async function refusedAdd(node: TulleNode, ...portMappings: readonly JsonObject[]): Promise<ChainOutcome> {
  await using netns = await Netns.create('pod')
  const attachment = { ...newAttachment(netns), capabilities: { portMappings } }
  const outcome = await node.runtime.add(attachment)
  await node.runtime.del(attachment)
  return outcome
}

t.test('a port that is taken is refused with the name of the holder, and nothing is left', async t => {
  await using node = await startNodeWithPorts()
  await leavesNothing(t, node, async () => {
    await using holder = await attachWithPorts(node, WEB, { ...WEB, hostPort: 9090, hostIP: HOST_IPV4 })
    const before = await node.snapshot()
    const name = `pods/${holder.attachment.containerId}/eth0`
    for (const wanted of [
      WEB,
      { ...WEB, hostIP: HOST_IPV4 },
      { ...WEB, hostPort: 9090 },
      { ...WEB, hostPort: 9090, hostIP: HOST_IPV4 },
    ]) {
      const { json } = await refusedAdd(node, { ...WEB, hostPort: 7070 }, wanted)
      t.match(
        json,
        { code: 107, msg: new RegExp(`^hostPort \\d+/tcp.* is taken: ${name} has hostports-`) },
        JSON.stringify(json),
      )
      t.equal(await node.snapshot(), before)
    }
    await using other = await attachWithPorts(
      node,
      { ...WEB, protocol: 'udp' },
      { ...WEB, protocol: 'sctp' },
      { ...WEB, hostPort: 9090, hostIP: HOST_IPV6 },
    )
    t.match(
      await node.netns.run(['nft', 'list', 'map', 'inet', 'tulle', 'hostports-4']),
      /sctp \. 8080 comment "tulle\/1 eth0/,
    )
    await node.detach(other)
    await node.detach(holder)
    await using next = await attachWithPorts(node, WEB)
    await node.detach(next)
  })
})

t.test(
  'DEL needs no result, no ports and no namespace; an ADD takes over what a pod without an interface left',
  async t => {
    await using node = await startNodeWithPorts()
    await leavesNothing(t, node, async () => {
      const lost = await attachWithPorts(node, WEB)
      await lost.netns.delete()
      await using next = await attachWithPorts(node, WEB)
      const gone = { ...lost.attachment, netnsPath: '', capabilities: {} }
      t.equal((await node.runtime.del(gone, { isResultLost: true })).exitCode, 0)
      t.equal((await node.runtime.check(next.attachment)).stdout, '', 'DEL of the first took nothing of the second')
      await next.netns.delete()
      t.equal(
        (await node.runtime.del({ ...next.attachment, netnsPath: '', capabilities: {} }, { isResultLost: true }))
          .exitCode,
        0,
      )
    })
  },
)

t.test('CHECK names what nftables has lost, and the next ADD writes the rules again', async t => {
  await using folder = await mkdtempDisposable(join(tmpdir(), 'tulle-ports-'))
  const { cniPath } = await debianPlugins(folder.path)
  const ipam = { type: 'host-local', dataDir: folder.path, ranges: [[{ subnet: '10.88.0.0/24' }]] }
  await using node = await startNodeWithPorts({ cniVersion: '1.0.0', plugin: { ipam }, cniPath })
  // Who repairs is not running.
  await node.stopIpamd()
  await leavesNothing(t, node, async () => {
    await using pod = await attachWithPorts(node, WEB)
    await node.netns.run(['nft', 'delete', 'element', 'inet', 'tulle', 'hostports-4', '{ tcp . 8080 }'])
    const lost = `nftables lacks hostports-4 { tcp . 8080 : ${pod.ipv4} . 80 }`
    t.match((await node.runtime.check(pod.attachment)).json, { code: 106, msg: lost })
    await node.netns.run(['nft', 'flush', 'chain', 'inet', 'tulle', 'hostports-in'])
    t.match((await node.runtime.check(pod.attachment)).json, { details: 'lacks chains hostports, hostports-in' })
    t.equal((await node.runtime.del(pod.attachment)).exitCode, 0, 'DEL takes what is there')
    await using next = await attachWithPorts(node, WEB)
    t.equal((await node.runtime.check(next.attachment)).stdout, '')
    await node.detach(next)
  })
})

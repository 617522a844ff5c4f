import './harness/isolated.ts'
import { existsSync } from 'node:fs'
import t from 'tap'
import type { Netns } from './harness/namespace.ts'
import { removeBridge } from './harness/bridge.ts'
import { connectOutsider, OUTSIDER_IPV4, OUTSIDER_IPV6, UPLINK_IPV4, UPLINK_IPV6 } from './harness/outsider.ts'
import { attachWithPorts, startNodeWithPorts, WEB } from './harness/ports.ts'
import { askTcp, askUdp, serveTcp, serveUdp } from './harness/reach.ts'
import { HOST_IPV4, HOST_IPV6 } from './harness/tulle-node.ts'

// Ports of the node that lead to pods on a bridge, and what of it depends on the bridge (docs/dataplane.md; checklist R21).

const DNS = { hostPort: 5353, containerPort: 53, protocol: 'udp' } as const

t.test('ports of the node lead to a pod on a bridge from everywhere, TCP and UDP, until DEL', async t => {
  await using node = await startNodeWithPorts({ plugin: { mode: 'bridge', isDefaultGateway: true, hairpinMode: true } })
  await using outsider = await connectOutsider(node.netns, [])
  await using pod = await attachWithPorts(node, WEB, DNS)
  await using other = await node.attach()
  const isFiltered = existsSync('/proc/sys/net/bridge/bridge-nf-call-iptables')
  for (const side of [
    { own: pod.ipv4, host: HOST_IPV4, uplink: UPLINK_IPV4, other: other.ipv4, outsider: OUTSIDER_IPV4 },
    { own: pod.ipv6, host: HOST_IPV6, uplink: UPLINK_IPV6, other: other.ipv6, outsider: OUTSIDER_IPV6 },
  ]) {
    await using web = await serveTcp(pod.netns, { address: side.own, port: 80 }, 'web')
    const ask = (from: Netns, address: string) => askTcp(from, { address, port: 8080 })
    t.equal(await ask(outsider, side.uplink), `web to ${side.outsider}`, 'from outside, under its own address')
    // Without it a pod answers its neighbour past the translation.
    if (isFiltered) t.equal(await ask(other.netns, side.host), `web to ${side.other}`, 'from a pod on the same bridge')
    t.match(await ask(pod.netns, side.uplink), /^web to /, 'from the pod itself')
    t.equal(await ask(node.netns, side.host), `web to ${side.host}`, 'from the host, by its own address')
    t.match(await askTcp(outsider, { address: side.uplink, port: 80 }), /^refused: ECONNREFUSED/, 'that port alone')
    await web.stop()

    await using dns = await serveUdp(pod.netns, { address: side.own, port: 53 }, 'dns')
    const askDns = (from: Netns, address: string) => askUdp(from, { address, port: 5353 }, 40_000)
    t.equal(await askDns(outsider, side.uplink), `dns to ${side.outsider}`, 'UDP from outside')
    if (isFiltered) t.equal(await askDns(other.netns, side.host), `dns to ${side.other}`, 'UDP from the same bridge')
    await dns.stop()
  }
  await using web = await serveTcp(pod.netns, { address: pod.ipv4, port: 80 }, 'web')
  t.match(await askTcp(node.netns, { address: '127.0.0.1', port: 8080 }), /^refused: /, 'not by 127.0.0.1')
  await web.stop()
  t.equal((await node.runtime.check(pod.attachment)).stdout, '')
  await node.detach(pod)
  t.match(await askTcp(outsider, { address: UPLINK_IPV4, port: 8080 }), /^refused: ECONNREFUSED/, 'after DEL')
  t.equal(await askUdp(outsider, { address: UPLINK_IPV6, port: 5353 }, 40_001), 'no answer', 'after DEL')
  await node.detach(other)
  await removeBridge('cni0')
})

import './harness/isolated.ts'
import { createSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import t from 'tap'
import { openLinuxKernel } from '../../lib/kernel/linux-kernel.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import { parseIfName } from '../../lib/net/if-name.ts'
import { hostIfNameOf, macOf } from '../../lib/plan/link-names.ts'
import { planAttach } from '../../lib/plan/plan-attach.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import { loadAddon } from '../../native/addon.ts'
import { buildAddon } from '../../native/build.ts'
import { Netns } from './harness/namespace.ts'

const FILE = resolve(import.meta.dirname, '../../dist/bin/lib/tulle.node')
await buildAddon(FILE)
const addon = loadAddon(FILE)

/** Enough of them: without what makes it hold, one pod in twelve lost packets on a quiet machine. */
const PODS = 60
const PACKETS = 10

/** How many packets our namespace has sent through a link; what was dropped before the device is not among them. */
function sentThrough(name: string): number {
  const line = readFileSync('/proc/thread-self/net/dev', 'utf8').match(new RegExp(`^ *${name}:(.*)$`, 'm'))?.[1] ?? ''
  return Number(line.trim().split(/\s+/)[9])
}

t.test('no packet from the host to a pod is lost once its plan is applied', async t => {
  const socket = createSocket('udp4')
  t.teardown(() => socket.close())
  const send = (address: string) =>
    new Promise<void>((sent, failed) => socket.send('x', 9, address, error => (error ? failed(error) : sent())))
  for (let pod = 0; pod < PODS; pod++) {
    await using netns = await Netns.create('pod')
    using kernel = openLinuxKernel(addon, { podNetnsPath: netns.path, exchange: 'sync' })
    const attachment = { network: 'pods', containerId: `c${pod}`, ifName: 'eth0' }
    const hostIfName = hostIfNameOf(attachment)
    const address = parseAddress(`10.9.0.${pod + 1}`)
    const plan = planAttach({
      attachment,
      hostIfName,
      hostMac: macOf(attachment, 'host'),
      podIfName: parseIfName('eth0'),
      podMac: macOf(attachment, 'pod'),
      mtuBytes: 1500,
      addresses: [address],
      viaHost: [],
      hostHasIpv6: true,
      hostDisablesIpv6: false,
      podDisablesIpv6: false,
    })
    for (const operation of plan) await kernel.apply(operation, Deadline.in(10_000))
    for (let packet = 0; packet < PACKETS; packet++) await send(formatAddress(address))
    const sent = sentThrough(hostIfName)
    t.ok(sent >= PACKETS, `${sent} packets left for pod ${pod}`)
    await kernel.apply({ do: 'delete-link', at: 'host', link: hostIfName }, Deadline.in(10_000))
  }
})

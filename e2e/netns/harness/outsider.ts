import { connect } from './connect.ts'
import { Netns } from './namespace.ts'
import { until } from './until.ts'

/** Addresses of a host beyond the uplink of the node, and of the node on that uplink. */
export const OUTSIDER_IPV4 = '198.51.100.2'
export const OUTSIDER_IPV6 = '2001:db8:1::2'
export const UPLINK_IPV4 = '198.51.100.1'
export const UPLINK_IPV6 = '2001:db8:1::1'

/** A host beyond the uplink of the node, up0. It knows the way to `prefixes` through the node, and to nothing else. */
export async function connectOutsider(node: Netns, prefixes: readonly string[]): Promise<Netns> {
  const outsider = await Netns.create('outsider', { isLoopbackUp: true })
  await connect(
    { netns: node, ifName: 'up0', addresses: [`${UPLINK_IPV4}/24`, `${UPLINK_IPV6}/64`] },
    { netns: outsider, ifName: 'eth0', addresses: [`${OUTSIDER_IPV4}/24`, `${OUTSIDER_IPV6}/64`] },
  )
  for (const prefix of prefixes) {
    await outsider.run(['ip', 'route', 'add', prefix, 'via', prefix.includes(':') ? UPLINK_IPV6 : UPLINK_IPV4])
  }
  // The kernel gives its own link-local addresses, and they go through duplicate address detection. Until that is over the
  // node cannot ask for a neighbour.
  for (const [netns, ifName] of [
    [node, 'up0'],
    [outsider, 'eth0'],
  ] as const) {
    await until(`${ifName} has no tentative address`, async () => {
      return (await netns.run(['ip', '-6', 'address', 'show', 'dev', ifName, 'tentative'])) === ''
    })
  }
  return outsider
}

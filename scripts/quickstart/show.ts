import type { Ipamd } from '../../e2e/netns/harness/ipamd.ts'
import { asObject, asObjects, asString } from '../../e2e/netns/harness/json.ts'
import type { Netns } from '../../e2e/netns/harness/namespace.ts'

/** The addresses that the namespace can be reached at, one interface a line. */
export async function addressLines(netns: Netns): Promise<readonly string[]> {
  const links = asObjects(
    JSON.parse(await netns.run(['ip', '-json', 'address', 'show', 'scope', 'global'])),
    'ip address',
  )
  return links.map(link => {
    const addresses = asObjects(link['addr_info'], 'addr_info').map(each => `${each['local']}/${each['prefixlen']}`)
    return [asString(link['ifname'], 'ifname'), ...addresses].join(' ')
  })
}

/** The main routing tables, IPv4 before IPv6. */
export async function routeLines(netns: Netns): Promise<readonly string[]> {
  const ipv4 = await linesOf(netns, ['ip', '-4', 'route', 'show'])
  const ipv6 = await linesOf(netns, ['ip', '-6', 'route', 'show'])
  // Every interface has the link-local prefix: it says nothing about pods.
  return [...ipv4, ...ipv6.filter(line => !line.startsWith('fe80::/64'))]
}

/** The leases that ipamd has, from its API. */
export async function leaseLines(ipamd: Ipamd): Promise<readonly string[]> {
  const { leases } = await ipamd.get('/v1/leases')
  return asObjects(leases, 'leases').map(lease => {
    const attachment = asObject(lease['attachment'], 'attachment')
    const addresses = asObjects(lease['addresses'], 'addresses').map(each => asString(each['address'], 'address'))
    const container = asString(attachment['containerId'], 'containerId').slice(0, 12)
    return `${addresses.join(' and ')}: ${asString(attachment['ifName'], 'ifName')} of container ${container}…`
  })
}

async function linesOf(netns: Netns, command: readonly ['ip', ...string[]]): Promise<readonly string[]> {
  const text = await netns.run(command)
  return text
    .split('\n')
    .map(line => line.trimEnd())
    .filter(line => line !== '')
}

import { runCommand } from '../parts/command.ts'
import { debianParts } from '../parts/debian.ts'
import type { Cluster } from './namespaces/cluster.ts'
import { POD_PREFIXES, nodeSpec } from './namespaces/network.ts'
import { NamespaceProvider } from './namespaces/provider.ts'

/** What the reference chain needs to know of a node. */
interface Member {
  readonly index: number
  readonly name: string
  readonly podPrefixes: readonly string[]
}

/**
 * Installs what Tulle is compared with: the reference plugins bridge, host-local and portmap, with routes set by hand.
 *
 * Nothing looks after it: a node that reboots, comes or goes has no network.
 */
export async function installReferenceNetwork(cluster: Cluster): Promise<void> {
  const plugins = await debianParts(['containernetworking-plugins'])
  const provider = await NamespaceProvider.attach(cluster.descriptionFile)
  const members = await Promise.all(
    cluster.description.nodes.map(async ({ index, name }) => {
      const said = await cluster.kubectl(['get', 'node', name, '-o', 'jsonpath={.spec.podCIDRs[*]}'])
      return { index, name, podPrefixes: said.split(' ') }
    }),
  )
  for (const member of members) {
    const run = async (script: string, ...args: readonly string[]) =>
      await provider.exec(member.name, ['bash', '-euc', script, 'bash', ...args])
    await run('cp "$1"/* /opt/cni/bin/', `${plugins}/usr/lib/cni`)
    await run('echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding')
    await run('nft -f - <<<"$1"', masqueradeTable())
    for (const other of members) for (const route of routesTo(member, other)) await run('ip route replace $1', route)
    await run(
      'echo "$1" >/etc/cni/net.d/.new && mv /etc/cni/net.d/.new /etc/cni/net.d/10-reference.conflist',
      conflist(member),
    )
  }
  // The third node is on another link: the router has to know whose pods are where.
  const router = `--net=/proc/${cluster.description.machinePid}/ns/net`
  for (const member of members) {
    for (const [prefix, via] of nextHops(member)) {
      await runCommand(['nsenter', router, 'ip', 'route', 'replace', prefix, 'via', via])
    }
  }
}

function conflist({ podPrefixes }: Member): string {
  return JSON.stringify({
    cniVersion: '1.0.0',
    name: 'reference',
    plugins: [
      {
        type: 'bridge',
        bridge: 'cni0',
        isDefaultGateway: true,
        hairpinMode: true,
        mtu: 1500,
        ipam: { type: 'host-local', ranges: podPrefixes.map(subnet => [{ subnet }]) },
      },
      { type: 'portmap', capabilities: { portMappings: true }, snat: true },
    ],
  })
}

/** What `member` needs to reach the pods of `other`: nothing for its own, the other node, or the router. */
function routesTo(member: Member, other: Member): readonly string[] {
  if (member.index === other.index) return []
  const { lan } = nodeSpec(member.index)
  if (lan === nodeSpec(other.index).lan) return nextHops(other).map(([prefix, via]) => `${prefix} via ${via}`)
  return other.podPrefixes.map(prefix => `${prefix} via ${prefix.includes(':') ? lan.router6 : lan.router4}`)
}

function nextHops({ index, podPrefixes }: Member): readonly (readonly [prefix: string, via: string])[] {
  const { address4, address6 } = nodeSpec(index)
  return podPrefixes.map(prefix => [prefix, prefix.includes(':') ? address6 : address4])
}

/** Pods leave the cluster with their node's address; inside of it they keep theirs. */
function masqueradeTable(): string {
  const [pods4, pods6] = POD_PREFIXES
  return `table inet reference {
    chain postrouting {
      type nat hook postrouting priority srcnat;
      ip saddr ${pods4} ip daddr != { ${pods4}, 172.30.0.0/16 } masquerade
      ip6 saddr ${pods6} ip6 daddr != { ${pods6}, fd00:30::/32 } masquerade
    }
  }`
}

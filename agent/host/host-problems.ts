import { NFT_TABLE } from '../../lib/plan/marks.ts'
import type { NftChain } from '../../lib/plan/nft-chain.ts'

/** Of the packets that pods send and get. */
const POD_FAMILIES = new Set(['ip', 'ip6', 'inet'])

/** What was looked at on the node. */
export interface HostFacts {
  /** The paths of the Unix sockets that somebody listens on: they tell which services run, also from within a container. */
  readonly unixSockets: readonly string[]
  readonly nftChains: readonly NftChain[]
  /** The output of `iptables-legacy -S FORWARD` and the same of IPv6; undefined when they are not there. */
  readonly legacyForward: string | undefined
  /** Whether a file tells the service to leave our links and routes alone. */
  readonly hasNetworkManagerDropIn: boolean
  readonly hasNetworkdDropIn: boolean
}

/** Something on the node that gets, or may get, into the way of pods. */
export interface HostProblem {
  /** A word for metrics and for the reader of the documentation: docs/operations.md has a section for each. */
  readonly name: 'docker-forward-drop' | 'forward-drop' | 'firewalld' | 'network-manager' | 'systemd-networkd'
  readonly problem: string
  readonly cure: string
}

/** Finds those that are known, by what they leave behind. Nothing of it is changed: it belongs to others (invariant 4). */
export function hostProblems(facts: HostFacts): readonly HostProblem[] {
  return [...forwardProblems(facts), ...managerProblems(facts)]
}

function forwardProblems({ nftChains, legacyForward }: HostFacts): readonly HostProblem[] {
  const isDocker = nftChains.some(({ name }) => name === 'DOCKER' || name === 'DOCKER-USER')
  const forwarding = nftChains.filter(({ family, base }) => base?.hook === 'forward' && POD_FAMILIES.has(family))
  const dropping = forwarding
    .filter(({ table, base }) => base?.policy === 'drop' && table !== NFT_TABLE)
    .map(({ family, table, name }) => `nft chain ${family} ${table} ${name}`)
  if (legacyForward?.split('\n').includes('-P FORWARD DROP') === true) dropping.push('iptables-legacy chain FORWARD')
  const problems = dropping.map(chain => dropProblem(chain, isDocker))
  if (!forwarding.some(({ table }) => table === 'firewalld')) return problems
  const firewalld = {
    name: 'firewalld',
    problem: 'firewalld rejects forwarded packets that no zone of its own allows',
    cure: 'firewall-cmd --permanent --zone=trusted --add-source=POD_CIDR for the pod CIDRs of the cluster, then firewall-cmd --reload',
  } as const
  return [...problems, firewalld]
}

function dropProblem(chain: string, isDocker: boolean): HostProblem {
  if (!isDocker) {
    return {
      name: 'forward-drop',
      problem: `${chain} drops forwarded packets by its policy: an accept of another table does not help`,
      cure: 'let that chain accept what goes to and comes from the pod CIDRs',
    }
  }
  return {
    name: 'docker-forward-drop',
    problem: `Docker has set the policy of ${chain} to drop: packets between pods are lost`,
    cure: '"ip-forward-no-drop": true in /etc/docker/daemon.json (Docker 28), or accept rules for the pod CIDRs in chain DOCKER-USER',
  }
}

function managerProblems(facts: HostFacts): readonly HostProblem[] {
  const runs = (folder: string): boolean => facts.unixSockets.some(path => path.startsWith(folder))
  const problems: HostProblem[] = []
  if (runs('/run/NetworkManager/') && !facts.hasNetworkManagerDropIn) {
    problems.push({
      name: 'network-manager',
      problem: 'NetworkManager runs and was not told to leave the links of pods alone',
      cure: '/etc/NetworkManager/conf.d/90-tulle.conf: [keyfile] unmanaged-devices=interface-name:tul*;interface-name:vx-tulle',
    })
  }
  if ((runs('/run/systemd/netif/') || runs('/run/systemd/io.systemd.Network')) && !facts.hasNetworkdDropIn) {
    problems.push({
      name: 'systemd-networkd',
      problem:
        'systemd-networkd runs and was not told to leave foreign routes alone: it removes them when it is restarted',
      cure: '/etc/systemd/networkd.conf.d/90-tulle.conf: [Network] ManageForeignRoutes=no, ManageForeignRoutingPolicyRules=no',
    })
  }
  return problems
}

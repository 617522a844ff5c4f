import { Fields } from '../../lib/ipam/fields.ts'
import { ParseError } from '../../lib/net/parse-error.ts'
import { NFT_TABLE } from '../../lib/plan/marks.ts'

/** What was looked at on the node. */
export interface HostFacts {
  /** The paths of the Unix sockets that somebody listens on: they tell which services run, also from within a container. */
  readonly unixSockets: readonly string[]
  /** The output of `nft -j list chains`; undefined when it could not be had. */
  readonly nftChains: string | undefined
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

interface BaseChain {
  readonly family: string
  readonly table: string
  readonly name: string
  readonly policy: string | undefined
}

function forwardProblems({ nftChains, legacyForward }: HostFacts): readonly HostProblem[] {
  const { bases, names } = nftChains === undefined ? { bases: [], names: new Set<string>() } : readChains(nftChains)
  const isDocker = names.has('DOCKER') || names.has('DOCKER-USER')
  const dropping = bases
    .filter(({ table, policy }) => policy === 'drop' && table !== NFT_TABLE)
    .map(({ family, table, name }) => `nft chain ${family} ${table} ${name}`)
  if (legacyForward?.split('\n').includes('-P FORWARD DROP') === true) dropping.push('iptables-legacy chain FORWARD')
  const problems = dropping.map(chain => dropProblem(chain, isDocker))
  if (!bases.some(({ table }) => table === 'firewalld')) return problems
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

/** The chains at the forward hook of the families that pods use, and the names of all chains. */
function readChains(text: string): { readonly bases: readonly BaseChain[]; readonly names: ReadonlySet<string> } {
  const names = new Set<string>()
  const bases: BaseChain[] = []
  try {
    for (const item of Fields.of(JSON.parse(text), 'nft').list('nftables', (entry, path) => Fields.of(entry, path))) {
      const chain = item.optionalObject('chain')
      if (chain === undefined) continue
      const name = chain.string('name')
      names.add(name)
      if (chain.optionalString('hook') !== 'forward') continue
      const family = chain.string('family')
      if (!['ip', 'ip6', 'inet'].includes(family)) continue
      bases.push({ family, table: chain.string('table'), name, policy: chain.optionalString('policy') })
    }
  } catch (failure) {
    // An nft of another kind: what was read so far is told.
    if (!(failure instanceof ParseError || failure instanceof SyntaxError)) throw failure
  }
  return { bases, names }
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

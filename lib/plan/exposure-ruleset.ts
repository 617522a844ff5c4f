import { fnv1a64 } from '../ipam/attachment.ts'
import { parsePrefix, formatPrefix, type Prefix } from '../net/prefix.ts'
import type { Family } from '../net/address.ts'
import { HOST_IF_NAME_PREFIX } from './marks.ts'
import type { SetDefinition } from './nft-set.ts'
import { LOOPBACK_IPV4, type Chain, type Rule, type Ruleset } from './ruleset.ts'

/*
 * How pods meet the outside: hostPorts and masquerade. All that belongs to a pod is an element of a set or a map; the rules are
 * those of the node, and are there from the first pod on that needs them. A node without such pods has no chain of type nat,
 * because such a chain makes the kernel track every connection.
 */

const ADDRESS_TYPES = { 4: 'ipv4_addr', 6: 'ipv6_addr' } as const
const FAMILIES: readonly Family[] = [4, 6]

/** (protocol, port) on any address of the node → (address, port) of a pod. */
export const HOST_PORTS = perFamily((family): SetDefinition => ({
  name: `hostports-${family}`,
  key: ['inet_proto', 'inet_service'],
  data: [ADDRESS_TYPES[family], 'inet_service'],
}))

/** (protocol, address, port) of the node → (address, port) of a pod. */
export const HOST_PORTS_AT = perFamily((family): SetDefinition => ({
  name: `hostports-at-${family}`,
  key: ['inet_proto', ADDRESS_TYPES[family], 'inet_service'],
  data: [ADDRESS_TYPES[family], 'inet_service'],
}))

/** (source, destination) of connections that need the node's address as their source, or the answers would go astray. */
export const HAIRPINS = perFamily((family): SetDefinition => ({
  name: `hairpins-${family}`,
  key: [ADDRESS_TYPES[family], ADDRESS_TYPES[family]],
}))

/** Address of a pod → the chain that decides which of its connections to the outside are masqueraded. */
export const MASQUERADE = perFamily((family): SetDefinition => ({
  name: `masquerade-${family}`,
  key: [ADDRESS_TYPES[family]],
  data: 'verdict',
}))

/** Where no pod's packets are masqueraded, whatever its network says: the prefixes of the node's pools. */
export const POOL_PREFIXES = perFamily((family): SetDefinition => ({
  name: `pools-${family}`,
  key: [ADDRESS_TYPES[family]],
  isInterval: true,
}))

/** The same, for what the cluster adds: the pod ranges of other nodes. */
export const CLUSTER_PREFIXES = perFamily((family): SetDefinition => ({
  name: `cluster-${family}`,
  key: [ADDRESS_TYPES[family]],
  isInterval: true,
}))

/** Host-side interface of an attachment that has elements → in which of ELEMENT_SETS, one bit for each. */
export const OWNERS: SetDefinition = { name: 'owners', key: ['ifname'], data: ['mark'] }

/** Every set that holds elements of attachments, in the order of the bits in OWNERS. Only ever add at the end. */
export const ELEMENT_SETS: readonly SetDefinition[] = [HOST_PORTS, HOST_PORTS_AT, HAIRPINS, MASQUERADE].flatMap(
  sets => [sets[4], sets[6]],
)

/** hostPorts: from outside and from pods (prerouting), from the host itself (output), and the way back of a hairpin. */
export const HOST_PORT_RULESET: Ruleset = {
  sets: [OWNERS, ...FAMILIES.flatMap(family => [HOST_PORTS[family], HOST_PORTS_AT[family], HAIRPINS[family]])],
  chains: [
    {
      name: 'hostports',
      rules: [
        { name: 'not to this host', matches: [{ match: 'destination-not-local' }], statement: { do: 'return' } },
        // A packet with this source cannot leave the host, so its answer could not come back.
        {
          name: 'loopback of IPv6',
          matches: [{ match: 'destination', prefix: parsePrefix('::1/128') }],
          statement: { do: 'return' },
        },
        ...FAMILIES.flatMap(family => [
          dnat(family, 'hostPort at one address', HOST_PORTS_AT[family]),
          dnat(family, 'hostPort', HOST_PORTS[family]),
        ]),
      ],
    },
    {
      name: 'hostports-in',
      base: { type: 'nat', hook: 'prerouting', priority: 'dstnat' },
      rules: [
        // Who shares a link with the host may send it such packets, and translating them here would pass by the routing
        // that refuses them. What the host sends to itself was translated in output.
        {
          name: 'loopback from outside',
          matches: [{ match: 'destination', prefix: LOOPBACK_IPV4 }],
          statement: { do: 'return' },
        },
        { name: 'from outside and from pods', matches: [], statement: { do: 'jump', chain: 'hostports' } },
      ],
    },
    {
      name: 'hostports-out',
      base: { type: 'nat', hook: 'output', priority: 'dstnat' },
      rules: [{ name: 'from the host', matches: [], statement: { do: 'jump', chain: 'hostports' } }],
    },
    {
      name: 'hairpins',
      base: { type: 'nat', hook: 'postrouting', priority: 'srcnat' },
      rules: FAMILIES.map(family => ({
        name: 'to itself or from loopback',
        matches: [{ match: 'in-set', key: [`${ip(family)} saddr`, `${ip(family)} daddr`], set: HAIRPINS[family].name }],
        statement: { do: 'masquerade' },
      })),
    },
  ],
}

/** Link-local addresses and multicast: nothing of it crosses a router, so nobody outside sees the source. */
const NEVER_ROUTED = ['169.254.0.0/16', '224.0.0.0/4', '255.255.255.255/32', 'fe80::/10', 'ff00::/8'].map(parsePrefix)

/**
 * Masquerade of connections to the outside, for pods of networks that except the prefixes `except` from it.
 *
 * Networks that except the same share one chain, whose name follows from its content: it never changes.
 */
export function masqueradeRuleset(except: readonly Prefix[]): Ruleset {
  return {
    sets: [
      OWNERS,
      ...FAMILIES.flatMap(family => [MASQUERADE[family], POOL_PREFIXES[family], CLUSTER_PREFIXES[family]]),
    ],
    chains: [
      { name: masqueradeChainName(except), rules: masqueradeRules(except) },
      {
        name: 'masquerade',
        base: { type: 'nat', hook: 'postrouting', priority: 'srcnat' },
        rules: FAMILIES.map(family => ({
          name: 'from pods',
          matches: [],
          statement: { do: 'vmap', key: [`${ip(family)} saddr`], map: MASQUERADE[family].name },
        })),
      },
    ],
  }
}

/** The name of the chain for pods whose networks except `except`. */
export function masqueradeChainName(except: readonly Prefix[]): string {
  return `masquerade-${fnv1a64(texts(except).join(' ')).toString(16).padStart(16, '0')}`
}

function masqueradeRules(except: readonly Prefix[]): Chain['rules'] {
  const prefixes = [...NEVER_ROUTED, ...texts(except).map(parsePrefix)]
  return [
    {
      name: 'pods of this node',
      matches: [{ match: 'oifname-prefix', prefix: HOST_IF_NAME_PREFIX }],
      statement: { do: 'return' },
    },
    ...prefixes.map((prefix): Rule => ({
      name: 'excepted',
      matches: [{ match: 'destination', prefix }],
      statement: { do: 'return' },
    })),
    ...FAMILIES.flatMap(family =>
      [POOL_PREFIXES[family], CLUSTER_PREFIXES[family]].map(({ name: set }): Rule => ({
        name: 'pods',
        matches: [{ match: 'in-set', key: [`${ip(family)} daddr`], set }],
        statement: { do: 'return' },
      })),
    ),
    // Ports at random: of two connections that get the same port at the same time, the second would be dropped.
    { name: 'to the outside', matches: [], statement: { do: 'masquerade', isFullyRandom: true } },
  ]
}

/** One text for each prefix, sorted: the order in which a configuration names them means nothing. */
function texts(prefixes: readonly Prefix[]): readonly string[] {
  return [...new Set(prefixes.map(formatPrefix))].toSorted()
}

function dnat(family: Family, name: string, { name: map, key }: SetDefinition): Rule {
  const address = key.length === 3 ? ([`${ip(family)} daddr`] as const) : []
  return { name, matches: [], statement: { do: 'dnat', family, key: ['meta l4proto', ...address, 'th dport'], map } }
}

function ip<F extends Family>(family: F): F extends 4 ? 'ip' : 'ip6' {
  return (family === 4 ? 'ip' : 'ip6') as F extends 4 ? 'ip' : 'ip6' // what the type says of each family
}

function perFamily<T>(make: (family: Family) => T): Readonly<Record<Family, T>> {
  return { 4: make(4), 6: make(6) }
}

import { formatPrefix, parsePrefix, type Prefix } from '../net/prefix.ts'
import type { Family } from '../net/address.ts'
import { HOST_IF_NAME_PREFIX, NFT_TABLE } from './marks.ts'
import { renderSet, type SetDefinition } from './nft-set.ts'

/** What of a packet a set or a map is asked for, in nftables' terms. */
export type Selector = 'meta l4proto' | 'th dport' | 'ip saddr' | 'ip daddr' | 'ip6 saddr' | 'ip6 daddr'

/** A condition of a rule, in nftables' terms. */
export type Match =
  | { readonly match: 'iifname-prefix'; readonly prefix: string }
  | { readonly match: 'oifname-prefix'; readonly prefix: string }
  | { readonly match: 'source-unreachable-by-iif' }
  | { readonly match: 'destination-not-local' }
  | { readonly match: 'destination'; readonly prefix: Prefix }
  | { readonly match: 'in-set'; readonly key: readonly Selector[]; readonly set: string }

/** What a rule does with a packet that all its matches hold for. */
export type Statement =
  | { readonly do: 'count-and-drop' }
  | { readonly do: 'return' }
  | { readonly do: 'jump'; readonly chain: string }
  /** Goes on in the chain that the map has for the key. */
  | { readonly do: 'vmap'; readonly key: readonly Selector[]; readonly map: string }
  /** Gives the connection the destination that the map has for the key. */
  | { readonly do: 'dnat'; readonly family: Family; readonly key: readonly Selector[]; readonly map: string }
  /** Gives the connection an address of the node as its source. */
  | { readonly do: 'masquerade'; readonly isFullyRandom?: true }

/** One rule of a chain. */
export interface Rule {
  /** What the rule is for: part of its comment, by which a person and a later check find it. */
  readonly name: string
  readonly matches: readonly Match[]
  readonly statement: Statement
}

/** Where a base chain sees packets. Its policy is accept. */
export interface BaseHook {
  readonly type: 'filter' | 'nat'
  readonly hook: 'prerouting' | 'output' | 'postrouting'
  readonly priority: 'raw' | 'dstnat' | 'srcnat'
}

/** A chain: a base chain when it has a hook, or one that others jump to. */
export interface Chain {
  readonly name: string
  readonly base?: BaseHook
  readonly rules: readonly Rule[]
}

/** A part of the content of our nftables table. */
export interface Ruleset {
  readonly sets: readonly SetDefinition[]
  /** A chain that others jump to comes before them. */
  readonly chains: readonly Chain[]
}

/** nftables' names and numbers for the priorities of base chains. */
export const PRIORITIES = { raw: -300, dstnat: -100, srcnat: 100 } as const

const FROM_POD: Match = { match: 'iifname-prefix', prefix: HOST_IF_NAME_PREFIX }

/** The loopback addresses of a host, of IPv4. */
export const LOOPBACK_IPV4 = parsePrefix('127.0.0.0/8')

/**
 * What every node with pods has: packets that a pod sends with a source address that is not its own, or to the host's
 * loopback addresses, are dropped before anything else sees them.
 *
 * rp_filter alone covers IPv4 only, and a node-wide value of 2 (loose) overrides the strict one of an interface: the first
 * rule holds for both families, whatever the node's settings are. The second matters once route_localnet is on, which pods
 * with a hostPort need on their own interfaces, and kube-proxy and portmap switch on for their own purposes.
 */
export const NODE_RULESET: Ruleset = {
  sets: [],
  chains: [
    {
      name: 'from-pods',
      base: { type: 'filter', hook: 'prerouting', priority: 'raw' },
      rules: [
        {
          name: 'spoofed source',
          matches: [FROM_POD, { match: 'source-unreachable-by-iif' }],
          statement: { do: 'count-and-drop' },
        },
        {
          name: 'to the loopback of the host',
          matches: [FROM_POD, { match: 'destination', prefix: LOOPBACK_IPV4 }],
          statement: { do: 'count-and-drop' },
        },
      ],
    },
  ],
}

/** Renders `rule` in nft(8)'s language, with the comment by which `ruleComment` names it. */
export function renderRule(rule: Rule): string {
  return `${renderBody(rule, 'counter drop')} comment "${ruleComment(rule)}"`
}

/**
 * The comment of `rule`: its name and what it does. A rule whose comment is in the kernel is the rule as this version of
 * the code writes it; any other is replaced.
 */
export function ruleComment(rule: Rule): string {
  return `${rule.name}: ${renderBody(rule, '').replaceAll('"', '')}`
}

/** Renders `ruleset` as nft(8) would print it. */
export function renderRuleset(ruleset: Ruleset): string {
  const sets = ruleset.sets.map(renderSet)
  const chains = ruleset.chains.map(chain =>
    [
      `\tchain ${chain.name} {`,
      ...(chain.base === undefined ? [] : [`\t\t${renderBase(chain.base)}`]),
      ...chain.rules.map(rule => `\t\t${renderRule(rule)}`),
      '\t}',
    ].join('\n'),
  )
  return `table inet ${NFT_TABLE} {\n${[...sets, ...chains].join('\n')}\n}`
}

function renderBase({ type, hook, priority }: BaseHook): string {
  return `type ${type} hook ${hook} priority ${hook === 'output' ? PRIORITIES[priority] : priority}; policy accept;`
}

function renderBody(rule: Rule, drop: string): string {
  return [...rule.matches.map(renderMatch), renderStatement(rule.statement, drop)].filter(text => text !== '').join(' ')
}

function renderMatch(match: Match): string {
  switch (match.match) {
    case 'iifname-prefix':
      return `iifname "${match.prefix}*"`
    case 'oifname-prefix':
      return `oifname "${match.prefix}*"`
    case 'source-unreachable-by-iif':
      return 'fib saddr . iif oif missing'
    case 'destination-not-local':
      return 'fib daddr type != local'
    case 'destination': {
      const { family } = match.prefix.address
      return `${family === 4 ? 'ip' : 'ip6'} daddr ${renderDestination(match.prefix)}`
    }
    case 'in-set':
      return `${match.key.join(' . ')} @${match.set}`
  }
}

/** nft(8) leaves the length of a whole address out. */
function renderDestination(prefix: Prefix): string {
  return formatPrefix(prefix).replace(prefix.address.family === 4 ? /\/32$/ : /\/128$/, '')
}

function renderStatement(statement: Statement, drop: string): string {
  switch (statement.do) {
    case 'count-and-drop':
      return drop
    case 'return':
      return 'return'
    case 'jump':
      return `jump ${statement.chain}`
    case 'vmap':
      return `${statement.key.join(' . ')} vmap @${statement.map}`
    case 'dnat':
      return `dnat ${statement.family === 4 ? 'ip' : 'ip6'} to ${statement.key.join(' . ')} map @${statement.map}`
    case 'masquerade':
      return `masquerade${statement.isFullyRandom ? ' fully-random' : ''}`
  }
}

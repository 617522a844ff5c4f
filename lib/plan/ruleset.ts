import { formatPrefix, parsePrefix, type Prefix } from '../net/prefix.ts'
import { HOST_IF_NAME_PREFIX, NFT_TABLE } from './marks.ts'

/** A condition of a rule, in nftables' terms. */
export type Match =
  | { readonly match: 'iifname-prefix'; readonly prefix: string }
  | { readonly match: 'source-unreachable-by-iif' }
  | { readonly match: 'ipv4-destination'; readonly prefix: Prefix }

/** A rule that counts and drops what all its matches hold for. */
export interface Rule {
  /** What the rule is for: part of its comment, by which a person and a later check find it. */
  readonly name: string
  readonly matches: readonly Match[]
}

/** A base chain at the prerouting hook, before connection tracking. */
export interface Chain {
  readonly name: string
  readonly rules: readonly Rule[]
}

/** The content of our nftables table. */
export interface Ruleset {
  readonly chains: readonly Chain[]
}

/** nftables' name and number for the priority of our chain: before connection tracking sees a packet. */
export const RAW_PRIORITY = -300

const FROM_POD: Match = { match: 'iifname-prefix', prefix: HOST_IF_NAME_PREFIX }

/**
 * What every node with pods has: packets that a pod sends with a source address that is not its own, or to the host's
 * loopback addresses, are dropped before anything else sees them.
 *
 * rp_filter alone covers IPv4 only, and a node-wide value of 2 (loose) overrides the strict one of an interface: the first
 * rule holds for both families, whatever the node's settings are. The second matters once route_localnet is on, which
 * kube-proxy and portmap switch on for their own purposes.
 */
export const NODE_RULESET: Ruleset = {
  chains: [
    {
      name: 'from-pods',
      rules: [
        { name: 'spoofed source', matches: [FROM_POD, { match: 'source-unreachable-by-iif' }] },
        {
          name: 'to the loopback of the host',
          matches: [FROM_POD, { match: 'ipv4-destination', prefix: parsePrefix('127.0.0.0/8') }],
        },
      ],
    },
  ],
}

/** Renders `rule` in nft(8)'s language, with the comment by which `ruleComment` names it. */
export function renderRule(rule: Rule): string {
  return `${rule.matches.map(renderMatch).join(' ')} counter drop comment "${ruleComment(rule)}"`
}

/**
 * The comment of `rule`: its name and what it does. A rule whose comment is in the kernel is the rule as this version of
 * the code writes it; any other is replaced.
 */
export function ruleComment(rule: Rule): string {
  return `${rule.name}: ${rule.matches.map(renderMatch).join(' ').replaceAll('"', '')}`
}

/** Renders `ruleset` as nft(8) would print it. */
export function renderRuleset(ruleset: Ruleset): string {
  const chains = ruleset.chains.map(chain =>
    [
      `\tchain ${chain.name} {`,
      '\t\ttype filter hook prerouting priority raw; policy accept;',
      ...chain.rules.map(rule => `\t\t${renderRule(rule)}`),
      '\t}',
    ].join('\n'),
  )
  return `table inet ${NFT_TABLE} {\n${chains.join('\n')}\n}`
}

function renderMatch(match: Match): string {
  switch (match.match) {
    case 'iifname-prefix':
      return `iifname "${match.prefix}*"`
    case 'source-unreachable-by-iif':
      return 'fib saddr . iif oif missing'
    case 'ipv4-destination':
      return `ip daddr ${formatPrefix(match.prefix)}`
  }
}

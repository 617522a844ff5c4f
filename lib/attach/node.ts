import { CniError, ErrorCode } from '../cni/errors.ts'
import { parseAddress, type Family } from '../net/address.ts'
import { parseIfName } from '../net/if-name.ts'
import type { Kernel } from '../plan/kernel.ts'
import { LINK_GROUP, OVERLAY_IF_NAME } from '../plan/marks.ts'
import type { Operation } from '../plan/operation.ts'
import { NODE_RULESET, type Ruleset } from '../plan/ruleset.ts'
import type { Deadline } from '../time/deadline.ts'

/** What of the node decides how a pod is wired. */
export interface NodeFacts {
  /** True when the node's kernel runs IPv6 at all. */
  readonly hasIpv6: boolean
  /** True when new links of the node come with IPv6 switched off. */
  readonly disablesIpv6: boolean
  readonly podDisablesIpv6: boolean
}

const IPV4_FORWARDING = 'net/ipv4/ip_forward'
const IPV6_FORWARDING = 'net/ipv6/conf/all/forwarding'
const ALL_DISABLE_IPV6 = 'net/ipv6/conf/all/disable_ipv6'
const DEFAULT_DISABLE_IPV6 = 'net/ipv6/conf/default/disable_ipv6'

/** RFC 8200, section 5: every IPv6 link carries packets of this size, and the kernel runs no IPv6 on one that does not. */
export const IPV6_MIN_MTU_BYTES = 1280

const OVERLAY = parseIfName(OVERLAY_IF_NAME)
/** Addresses of documentation prefixes: no node routes them on purpose, so the look-up finds the default route. */
const ANYWHERE = [parseAddress('203.0.113.1'), parseAddress('2001:db8:ffff:ffff::1')] as const
/** What Ethernet carries: for a node that leads nowhere, where only pods of this node talk to each other. */
const DEFAULT_MTU_BYTES = 1500

/** Reads what of the node decides how a pod with addresses of `families` is wired. */
export function observeNode(kernel: Kernel, families: readonly Family[]): NodeFacts {
  return {
    hasIpv6: kernel.readSysctl('host', IPV6_FORWARDING) !== undefined,
    disablesIpv6: kernel.readSysctl('host', DEFAULT_DISABLE_IPV6) === '1',
    // Only where it decides something: reading in the pod's namespace takes a thread that enters it.
    podDisablesIpv6: families.includes(6) && kernel.hasPod && kernel.readSysctl('pod', DEFAULT_DISABLE_IPV6) === '1',
  }
}

/**
 * The MTU that a pod gets when the configuration names none: that of the device that the node's traffic leaves by, the
 * smaller one where IPv4 and IPv6 differ, or of the node's VXLAN device where there is one (checklist R27: derived each time).
 */
export async function deriveMtuBytes(kernel: Kernel, by: Deadline): Promise<number> {
  const [overlay, ...uplinks] = await Promise.all([
    kernel.observeLink('host', OVERLAY, by),
    ...ANYWHERE.map(address => kernel.observeLinkTowards(address, by)),
  ])
  const links = [...uplinks, overlay?.group === LINK_GROUP ? overlay : undefined]
  const mtus = links.flatMap(link => (link === undefined || link.name === 'lo' ? [] : [link.mtuBytes]))
  return mtus.length === 0 ? DEFAULT_MTU_BYTES : Math.min(...mtus)
}

/** @throws {CniError} code 7 when the MTU is too small for the addresses that the pod gets. */
export function refuseSmallMtu({ mtuBytes, isAsked, families }: ChosenMtu): void {
  if (!families.includes(6) || mtuBytes >= IPV6_MIN_MTU_BYTES) return
  const source = isAsked ? '' : " (of the node's uplink)"
  throw new CniError(
    ErrorCode.invalidConfig,
    `mtu ${mtuBytes}${source} is too small for IPv6: want at least ${IPV6_MIN_MTU_BYTES}`,
  )
}

/** The MTU of both ends, and where it comes from. */
export interface ChosenMtu {
  readonly mtuBytes: number
  /** False: the configuration names none. */
  readonly isAsked: boolean
  readonly families: readonly Family[]
}

/**
 * Makes the node ready to route for pods of `families`: forwarding, and the rules against forged source addresses.
 *
 * These belong to the node, not to a pod: ADD makes sure of them and no DEL takes them back. What is changed is logged,
 * because it changes how the machine treats other people's packets.
 *
 * @throws {CniError} when the node has IPv6 switched off and the pod has an IPv6 address.
 */
export async function prepareNode(kernel: Kernel, options: PrepareOptions): Promise<void> {
  const { families, facts, log, by } = options
  if (families.includes(6)) refuseWithoutIpv6(kernel, facts)
  await forwardPackets(kernel, { families, log, by })
  if (await kernel.hasRuleset(NODE_RULESET, by)) return
  await kernel.replaceRuleset(NODE_RULESET, by)
  log('node: nftables table inet tulle written: packets with forged source addresses are dropped')
}

/**
 * Has the node forward packets of `families`, as far as its kernel runs them: to its pods, and to those of other nodes, for whom it may
 * have addresses of services before it has a pod itself. What is changed is logged.
 */
export async function forwardPackets(kernel: Kernel, { families, log, by }: ForwardOptions): Promise<void> {
  const changes = [
    ...(families.includes(4) ? enableForwarding(kernel, IPV4_FORWARDING) : []),
    ...(families.includes(6) ? await enableIpv6Forwarding(kernel, by) : []),
  ]
  for (const change of changes) {
    by.throwIfPast('preparing the node')
    await kernel.apply(change, by)
    log(`node: sysctl ${change.key} set to ${change.value}: pods need it`)
  }
}

/** What forwardPackets has to know. */
export interface ForwardOptions {
  readonly families: readonly Family[]
  readonly log: (line: string) => void
  readonly by: Deadline
}

/** What prepareNode has to know. */
export interface PrepareOptions extends ForwardOptions {
  readonly facts: NodeFacts
}

/** What of the node is not as prepareNode left it, each as a sentence; empty when all is well. */
export async function checkNode(kernel: Kernel, families: readonly Family[], by: Deadline): Promise<readonly string[]> {
  const keys = [...(families.includes(4) ? [IPV4_FORWARDING] : []), ...(families.includes(6) ? [IPV6_FORWARDING] : [])]
  const off = keys.filter(key => kernel.readSysctl('host', key) === '0')
  const problems = off.map(key => `host: ${key} is 0 (want: sysctl -w ${key}=1)`)
  if (!(await kernel.hasRuleset(NODE_RULESET, by))) {
    problems.push(
      'host: nftables table inet tulle lacks the rules against forged source addresses (want: any ADD, which writes them)',
    )
  }
  return problems
}

/** What of our nftables table a pod needs and is not there, each as a sentence. */
export async function checkRulesets(
  kernel: Kernel,
  rulesets: readonly Ruleset[],
  by: Deadline,
): Promise<readonly string[]> {
  const problems: string[] = []
  for (const ruleset of rulesets) {
    if (await kernel.hasRuleset(ruleset, by)) continue
    const names = ruleset.chains.map(({ name }) => name).join(', ')
    problems.push(
      `host: nftables table inet tulle lacks chains ${names} as they should be (want: ipamd, which repairs them)`,
    )
  }
  return problems
}

type SetSysctl = Extract<Operation, { do: 'set-sysctl' }>

function refuseWithoutIpv6(kernel: Kernel, facts: NodeFacts): void {
  if (!facts.hasIpv6) {
    throw new CniError(ErrorCode.kernel, 'the pool gives IPv6 addresses, but the kernel of this node runs without IPv6')
  }
  if (kernel.readSysctl('host', ALL_DISABLE_IPV6) === '1') {
    throw new CniError(
      ErrorCode.kernel,
      `the pool gives IPv6 addresses, but ${ALL_DISABLE_IPV6} is 1 on this node: want 0`,
    )
  }
}

function enableForwarding(kernel: Kernel, key: string): readonly SetSysctl[] {
  return kernel.readSysctl('host', key) === '0' ? [{ do: 'set-sysctl', at: 'host', key, value: '1' }] : []
}

/**
 * A host that forwards IPv6 ignores router advertisements, unless accept_ra is 2: an uplink that lives by them would lose
 * its default route some minutes later.
 */
async function enableIpv6Forwarding(kernel: Kernel, by: Deadline): Promise<readonly SetSysctl[]> {
  const forwarding = enableForwarding(kernel, IPV6_FORWARDING)
  if (forwarding.length === 0) return []
  const uplinks = await kernel.observeRouterAdvertisementLinks(by)
  const keep = uplinks
    .map(uplink => `net/ipv6/conf/${uplink.name}/accept_ra`)
    .filter(key => kernel.readSysctl('host', key) === '1')
    .map(key => ({ do: 'set-sysctl', at: 'host', key, value: '2' }) as const)
  return [...keep, ...forwarding]
}

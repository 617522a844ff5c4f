import type { SnapshotDifference } from '../../e2e/netns/harness/snapshot.ts'

/** What stays on a node after its last pod has gone, and why. Everything else that a pod leaves behind is a fault. */
const STAYS = [
  {
    pattern: /^sysctls: net\/ipv[46]\/(ip_forward|conf\/(all|default)\/(forwarding|accept_redirects)) = /,
    why: 'the node forwards for pods',
  },
  { pattern: /^nftables: table inet tulle \{/, why: 'one table for all pods: no forged source addresses' },
  { pattern: /^files: \/run\/tulle\/(ipamd\.sock\.lock|locks|spool)$/, why: 'where plugins and ipamd meet; empty' },
  { pattern: /^IPv[46] routes: unreachable .* proto 117\b/, why: 'the block is this node’s until ipamd gives it back' },
] as const

/** A state of the node that stays by design. */
export interface Remainder {
  /** What it is, on one line. */
  readonly what: string
  readonly why: string
}

export interface Leftovers {
  readonly byDesign: readonly Remainder[]
  /** What should not be there, or should still be there. Empty when all is well. */
  readonly faults: readonly string[]
}

/** Tells what stays on a node by design from what was left behind or destroyed. */
export function sortLeftovers({ added, removed }: SnapshotDifference): Leftovers {
  const stays = added.flatMap(entry => {
    const why = reasonOf(entry)
    return why === undefined ? [] : [{ what: headlineOf(entry), why }]
  })
  const faults = [
    ...added.filter(entry => reasonOf(entry) === undefined).map(entry => `left: ${entry}`),
    // The old value of a setting that stays changed is no loss.
    ...removed.filter(entry => !added.some(other => isNewValue(other, entry))).map(entry => `lost: ${entry}`),
  ]
  return { byDesign: stays, faults }
}

function reasonOf(entry: string): string | undefined {
  return STAYS.find(({ pattern }) => pattern.test(entry))?.why
}

function isNewValue(after: string, before: string): boolean {
  return reasonOf(after) !== undefined && before.includes(' = ') && nameOf(after) === nameOf(before)
}

function nameOf(entry: string): string {
  return entry.slice(0, entry.indexOf(' = '))
}

/** Without the title of its section and, for a table, without what is in it. */
function headlineOf(entry: string): string {
  const [headline = ''] = entry.slice(entry.indexOf(': ') + 2).split('\n')
  return headline.replace(/ \{$/, '')
}

import { Fields, shown } from '../../lib/ipam/fields.ts'
import { parseAddress, type Address } from '../../lib/net/address.ts'
import { ParseError } from '../../lib/net/parse-error.ts'
import { parsePrefix, type Prefix } from '../../lib/net/prefix.ts'
import type { ClusterNode } from './cluster.ts'

/** As many as a Node has: `podCIDRs` holds one of each family. More would be somebody's mistake, and must not fill a table. */
const MAX_POD_CIDRS = 2
const MAX_ADDRESSES = 64

/**
 * Reads a Node object (core/v1). What of it is wrong becomes its `fault`: one bad object must not hide the other nodes.
 *
 * @throws {ParseError} when it is no object with a name.
 */
export function parseNode(value: unknown): ClusterNode {
  const node = Fields.of(value, 'node')
  const metadata = node.object('metadata')
  const name = metadata.string('name')
  const base = {
    name,
    uid: metadata.optionalString('uid') ?? '',
    createdAtUnixMs: Date.parse(metadata.optionalString('creationTimestamp') ?? '') || 0,
  }
  try {
    return { ...base, podCidrs: podCidrsOf(node), internalIps: internalIpsOf(node) }
  } catch (cause) {
    if (!(cause instanceof ParseError)) throw cause
    return { ...base, podCidrs: [], internalIps: [], fault: cause.message }
  }
}

function podCidrsOf(node: Fields): readonly Prefix[] {
  const spec = node.optionalObject('spec')
  const single = spec?.optionalParsed('podCIDR', parsePrefix)
  const list = spec?.optionalList('podCIDRs', parsePrefixAt) ?? (single === undefined ? [] : [single])
  const families = new Set(list.map(({ address }) => address.family))
  if (list.length > MAX_POD_CIDRS || families.size !== list.length) {
    throw new ParseError(
      `node.spec.podCIDRs: ${shown(spec?.value['podCIDRs'])}: want at most one prefix of each family`,
    )
  }
  return list
}

function parsePrefixAt(item: unknown, path: string): Prefix {
  if (typeof item !== 'string') throw new ParseError(`${path}: ${shown(item)}: want a prefix`)
  try {
    return parsePrefix(item)
  } catch (cause) {
    throw new ParseError(`${path}: ${(cause as Error).message}`, { cause })
  }
}

function internalIpsOf(node: Fields): readonly Address[] {
  const addresses =
    node.optionalObject('status')?.optionalList('addresses', (item, path) => Fields.of(item, path)) ?? []
  return addresses
    .slice(0, MAX_ADDRESSES)
    .filter(fields => fields.string('type') === 'InternalIP')
    .map(fields => fields.parsed('address', parseAddress))
}

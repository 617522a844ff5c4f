import { formatAddress, parseAddress, type Address } from '../net/address.ts'
import { ParseError } from '../net/parse-error.ts'
import { containsAddress, formatPrefix, parsePrefix, type Prefix } from '../net/prefix.ts'
import { parseAttachmentKey, type AttachmentKey } from './attachment.ts'
import { Fields } from './fields.ts'

/** One address of a lease. */
export interface LeasedAddress {
  readonly address: Address
  /** The block (pod CIDR of the node) that the address comes from. Its length is the prefix length of the address. */
  readonly block: Prefix
  /** The first host address of the block, which is never leased. Absent in a block too small to have one. */
  readonly gateway?: Address
}

/** The durable record that gives an attachment its addresses: one of each family that the pool has. */
export interface Lease {
  readonly attachment: AttachmentKey
  readonly pool: string
  readonly addresses: readonly LeasedAddress[]
  readonly leasedAtUnixMs: number
  /** Who may have the same addresses again: "namespace/name" for a pod. Known to the daemon only. */
  readonly owner?: string | undefined
  /** How long after the release the addresses are kept for the owner. Known to the daemon only. */
  readonly stickySeconds?: number | undefined
}

export interface LeasedAddressDocument {
  readonly address: string
  readonly prefixLength: number
  readonly block: string
  readonly gateway?: string
}

export interface LeaseDocument {
  readonly attachment: AttachmentKey
  readonly pool: string
  readonly addresses: readonly LeasedAddressDocument[]
  readonly leasedAtUnixMs: number
}

export function leaseToWire(lease: Lease): LeaseDocument {
  return {
    attachment: attachmentToWire(lease.attachment),
    pool: lease.pool,
    addresses: lease.addresses.map(leasedAddressToWire),
    leasedAtUnixMs: lease.leasedAtUnixMs,
  }
}

/** Only the three parts, whatever else the object carries. */
export function attachmentToWire(attachment: AttachmentKey): AttachmentKey {
  return { network: attachment.network, containerId: attachment.containerId, ifName: attachment.ifName }
}

function leasedAddressToWire({ address, block, gateway }: LeasedAddress): LeasedAddressDocument {
  return {
    address: formatAddress(address),
    prefixLength: block.prefixLength,
    block: formatPrefix(block),
    ...(gateway === undefined ? {} : { gateway: formatAddress(gateway) }),
  }
}

/** Members that this version does not know are ignored: they come from a newer daemon. @throws {ParseError} naming the path. */
export function leaseFromWire(value: unknown, path: string): Lease {
  const fields = Fields.of(value, path)
  const addresses = fields.list('addresses', leasedAddressFromWire)
  if (addresses.length === 0) throw new ParseError(`${path}.addresses: []: want at least one address`)
  return {
    attachment: attachmentFromWire(fields.object('attachment')),
    pool: fields.string('pool'),
    addresses,
    leasedAtUnixMs: fields.count('leasedAtUnixMs'),
  }
}

/** @throws {ParseError} naming the path and the part that CNI does not allow. */
export function attachmentFromWire(fields: Fields): AttachmentKey {
  const parts = {
    network: fields.string('network'),
    containerId: fields.string('containerId'),
    ifName: fields.string('ifName'),
  }
  try {
    return parseAttachmentKey(parts)
  } catch (cause) {
    if (!(cause instanceof ParseError)) throw cause
    throw new ParseError(`${fields.path}: ${cause.message}`, { cause })
  }
}

function leasedAddressFromWire(value: unknown, path: string): LeasedAddress {
  const fields = Fields.of(value, path)
  const address = fields.parsed('address', parseAddress)
  const block = fields.parsed('block', parsePrefix)
  const gateway = fields.optionalParsed('gateway', parseAddress)
  if (fields.count('prefixLength') !== block.prefixLength || !containsAddress(block, address)) {
    throw new ParseError(`${path}: ${formatAddress(address)} is not an address of its block ${formatPrefix(block)}`)
  }
  return { address, block, ...(gateway === undefined ? {} : { gateway }) }
}

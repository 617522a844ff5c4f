import { IpamProblem } from '../lib/ipam/errors.ts'
import { formatAddressRange, type AddressRange } from '../lib/net/address-range.ts'
import { formatAddress, type Address } from '../lib/net/address.ts'
import { ParseError } from '../lib/net/parse-error.ts'
import { formatPrefix } from '../lib/net/prefix.ts'
import type { PoolExhausted, Refusal } from './allocator/allocate.ts'
import type { Granting } from './allocator/grant.ts'
import type { NotHandedOver } from './allocator/hand-over.ts'
import type { Overlap } from './allocator/foreign-range.ts'
import type { AddressRefused } from './allocator/exact.ts'
import { StoreError } from './store/store-error.ts'

/** The problem that tells the caller why nothing was leased. */
export function problemOf(refusal: Refusal, nowUnixMs: number): IpamProblem {
  switch (refusal.kind) {
    case 'pool-exhausted':
      return exhaustedProblem(refusal, nowUnixMs)
    case 'address-refused':
      return addressProblem(refusal, nowUnixMs)
    case 'other-lease': {
      const held = refusal.lease.addresses.map(({ address }) => formatAddress(address)).join(', ')
      const wanted =
        'family' in refusal.wanted ? formatAddress(refusal.wanted) : `addresses in ${ranges(refusal.wanted)}`
      return new IpamProblem('other-lease', `the attachment holds ${held}, wanted ${wanted}: release it first`)
    }
    case 'overlaps':
      return overlapProblem(refusal)
    case 'range-refused': {
      const range = formatAddressRange(refusal.range)
      const prefixes = refusal.pool.prefixes.map(formatPrefix).join(', ')
      return new IpamProblem(
        'bad-address',
        `range ${range}: want a range in pool "${refusal.pool.name}", ${prefixes}`,
        {
          members: { range },
        },
      )
    }
    case 'needs-block':
      return new IpamProblem(
        'busy',
        `pool "${refusal.pool.name}" has no free IPv${refusal.family} address until its upstream grants a block`,
      )
    case 'not-available-yet':
      return new IpamProblem(
        'not-available-yet',
        `pool "${refusal.pool}" is not available yet: nobody has handed over the pod CIDRs of this node; want the agent to run`,
        { members: { pool: refusal.pool } },
      )
    case 'unknown-pool':
      return new IpamProblem(
        'unknown-pool',
        `no pool ${JSON.stringify(refusal.pool)}: want one of ${refusal.known.join(', ')}`,
        { members: { pool: refusal.pool } },
      )
  }
}

function exhaustedProblem(refusal: PoolExhausted, nowUnixMs: number): IpamProblem {
  const { pool, family, leased, cooling, reserved, capacity, nextFreeAtUnixMs, blockLimit } = refusal
  const parts = [`${leased} leased`, `${cooling} cooling down`]
  if (reserved > 0) parts.push(`${reserved} reserved`)
  parts.push(`${capacity} in all`)
  if (blockLimit !== undefined) parts.push(`the node has as many blocks as maxBlocks allows, ${blockLimit}`)
  if (nextFreeAtUnixMs !== undefined) parts.push(`the next is free ${inSeconds(nextFreeAtUnixMs, nowUnixMs)}`)
  const where = refusal.within === undefined ? '' : ` in ${ranges(refusal.within)}; in the whole pool`
  return new IpamProblem(
    'pool-exhausted',
    `pool "${pool}" has no free IPv${family} address${where}: ${parts.join(', ')}`,
    {
      members: { pool, family, leased, cooling, reserved, capacity: capacity.toString() },
    },
  )
}

/** The problem that tells why a certain address is not leased or reserved. */
export function addressProblem(refusal: AddressRefused, nowUnixMs: number): IpamProblem {
  const members = { address: formatAddress(refusal.address) }
  const because = `address ${members.address}: ${reasonOf(refusal, nowUnixMs)}`
  switch (refusal.why) {
    case 'outside':
    case 'not-within':
    case 'never-leased':
      return new IpamProblem('bad-address', because, { members })
    case 'cooling':
      return new IpamProblem('address-cooling', because, { members })
    default:
      return new IpamProblem('address-unavailable', because, { members })
  }
}

function reasonOf(refusal: AddressRefused, nowUnixMs: number): string {
  switch (refusal.why) {
    case 'outside':
      return `want an address of pool "${refusal.pool.name}", ${refusal.pool.prefixes.map(formatPrefix).join(', ')}`
    case 'not-within':
      return `want an address in ${ranges(refusal.ranges)}, as the request says`
    case 'never-leased':
      return `${refusal.role} in block ${formatPrefix(refusal.block)}, never leased`
    case 'leased':
      return `leased by ${refusal.holder}`
    case 'reserved':
      return `reserved for ${JSON.stringify(refusal.owner)}`
    case 'kept':
      return `kept for ${JSON.stringify(refusal.owner)}, free ${inSeconds(refusal.untilUnixMs, nowUnixMs)}`
    case 'cooling':
      return `released a short time ago, free ${inSeconds(refusal.untilUnixMs, nowUnixMs)}: try again then`
    case 'block-in-the-way':
      return `its block ${formatPrefix(refusal.block)} overlaps ${formatPrefix(refusal.other)}, which ${refusal.node === undefined ? 'the node' : `node "${refusal.node}"`} has`
    case 'not-granted':
      return `its block ${formatPrefix(refusal.block)} is not this node's: want an address of a block that the upstream granted`
    case 'block-limit':
      return `its block ${formatPrefix(refusal.block)} would be one more than maxBlocks allows, ${refusal.limit}`
  }
}

function ranges(all: readonly AddressRange[]): string {
  return all.map(formatAddressRange).join(', ')
}

function inSeconds(unixMs: number, nowUnixMs: number): string {
  return `in ${Math.max(0, Math.ceil((unixMs - nowUnixMs) / 1000))} s`
}

/** The problem that tells why an address that no pool has is not reserved. */
export function inNoPool(address: Address, known: readonly string[]): IpamProblem {
  const text = formatAddress(address)
  return new IpamProblem('bad-address', `address ${text}: want an address of a pool: ${known.join(', ')}`, {
    members: { address: text },
  })
}

/** The problem that names two ranges that overlap, and where the second comes from. */
export function overlapProblem({ wanted, other }: Overlap): IpamProblem {
  const members = { wanted: formatPrefix(wanted), other: formatPrefix(other.prefix), source: other.source }
  return new IpamProblem('overlaps', `${members.wanted} overlaps ${members.other}, ${other.source}`, { members })
}

/** The problem that tells that pod CIDRs are of no use here. */
export function notHandedOver({ pool }: NotHandedOver): IpamProblem {
  const which = pool === undefined ? 'no pool' : `pool ${JSON.stringify(pool)} does not`
  const verb = pool === undefined ? ' takes' : ' take'
  return new IpamProblem('unknown-pool', `${which}${verb} pod CIDRs: want one with blockSource.type "kubernetes"`)
}

/** The problem that tells why another node was granted nothing. */
export function grantProblem(refusal: Exclude<Granting, { kind: 'granted' }>): IpamProblem {
  switch (refusal.kind) {
    case 'overlaps':
      return overlapProblem(refusal)
    case 'unknown-pool':
      return new IpamProblem(
        'unknown-pool',
        `no pool ${JSON.stringify(refusal.pool)} to grant blocks of: want one of ${refusal.known.join(', ')}, with the block source "local"`,
      )
    case 'late-request':
      return new IpamProblem(
        'late-request',
        `node "${refusal.node}" has asked again since: want a sequence above ${refusal.sequence}`,
        {
          members: { sequence: refusal.sequence },
        },
      )
    case 'other-instance':
      return new IpamProblem(
        'other-instance',
        `node "${refusal.grantee.node}" is another ipamd, instance ${refusal.grantee.instance}, with ${refusal.blocks} blocks: give each node a name of its own, or end the grants of the node that is gone`,
      )
    case 'no-block':
      return new IpamProblem('pool-exhausted', `pool "${refusal.pool}" has no free IPv${refusal.family} block`, {
        members: { pool: refusal.pool, family: refusal.family },
      })
  }
}

export function storeFailed(cause: StoreError): IpamProblem {
  return new IpamProblem('store-failed', cause.message, { cause })
}

/** The problem that a failed handler is answered with. */
export function problemFor(failure: unknown): IpamProblem {
  if (failure instanceof IpamProblem) return failure
  if (failure instanceof ParseError) return new IpamProblem('bad-request', failure.message, { cause: failure })
  if (failure instanceof StoreError) return storeFailed(failure)
  return new IpamProblem('internal', 'ipamd failed; its log has more', { cause: failure })
}

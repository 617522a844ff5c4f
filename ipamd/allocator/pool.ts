import { addressAt, type Address, type Family } from '../../lib/net/address.ts'
import { bitsOf, containsPrefix, firstAddress, lastAddress, sizeOf, type Prefix } from '../../lib/net/prefix.ts'
import { intersect, mergeRanges, rangeOf, sizeOfRange, type Range } from './range.ts'

/**
 * Who says which blocks the node has: the node itself carves them, the pool's prefixes are handed over, each of them one block,
 * or another ipamd grants them.
 */
export type BlockSource = { readonly type: 'local' } | { readonly type: 'kubernetes' } | UpstreamSource

/** Another ipamd, which has the whole pool. */
export interface UpstreamSource {
  readonly type: 'socket'
  /** Path of its socket. */
  readonly socket: string
  /** What the pool is called there; absent: as here. */
  readonly pool?: string | undefined
}

/** A named set of prefixes from which addresses come, as the configuration gives it. */
export interface Pool {
  readonly name: string
  /** Absent: the node carves blocks from the prefixes by itself. */
  readonly blockSource?: BlockSource | undefined
  /** Disjoint, also from those of every other pool. Of a pool whose blocks are handed over: what was handed over last. */
  readonly prefixes: readonly Prefix[]
  /** Length of the blocks that a node takes. A prefix that is longer than this is one block. */
  readonly blockPrefixLength: Readonly<Record<Family, number>>
  /** Addresses that are never leased. */
  readonly exclude: readonly Prefix[]
  /** Time after a release in which an address is not leased again. */
  readonly cooldownMs: number
  /** How many blocks of each family the node may have. Undefined: as many as the pool has. */
  readonly maxBlocks?: number | undefined
  /** When only cooling addresses are left: refuse, so that the caller tries again, or lease the least recently freed one. */
  readonly whenOnlyCooling?: 'wait' | 'takeOldest' | undefined
}

/** The families that every lease of the pool has, IPv4 first. */
export function familiesOf(pool: Pool): readonly Family[] {
  const families: readonly Family[] = [4, 6]
  return families.filter(family => prefixesOf(pool, family).length > 0)
}

/** The pool's prefixes of one family, in the order of the configuration. */
export function prefixesOf(pool: Pool, family: Family): readonly Prefix[] {
  return pool.prefixes.filter(prefix => prefix.address.family === family)
}

/** The length of blocks that are carved from `prefix`. */
export function blockLengthIn(pool: Pool, prefix: Prefix): number {
  return Math.max(pool.blockPrefixLength[prefix.address.family], prefix.prefixLength)
}

/** True when the block lies in the pool as it is configured now. One that does not is left from an older configuration. */
export function hasBlock(pool: Pool, block: Prefix): boolean {
  return pool.prefixes.some(prefix => containsPrefix(prefix, block))
}

/** True for blocks so small that every address is a host: /31 and /32 (RFC 3021), /127 (RFC 6164) and /128. */
function isAllHosts(block: Prefix): boolean {
  return block.prefixLength >= bitsOf(block.address.family) - 1
}

/** The first host address of the block, which is never leased; undefined in a block where every address is a host. */
export function gatewayOf(block: Prefix): Address | undefined {
  return isAllHosts(block) ? undefined : addressAt(block.address.family, block.address.value + 1n)
}

/**
 * Addresses of the block that are never leased, sorted and disjoint: the network address (in IPv6 the Subnet-Router anycast
 * address, RFC 4291, section 2.6.1), the gateway, the IPv4 broadcast address, and what the pool excludes.
 */
export function reservedIn(pool: Pool, block: Prefix): readonly Range[] {
  const excluded = pool.exclude.filter(prefix => prefix.address.family === block.address.family).map(rangeOf)
  const within = excluded.map(range => intersect(range, rangeOf(block))).filter(range => range !== undefined)
  return mergeRanges([...structuralRanges(block), ...within])
}

function structuralRanges(block: Prefix): readonly Range[] {
  if (isAllHosts(block)) return []
  const first = firstAddress(block).value
  const last = lastAddress(block).value
  const networkAndGateway = { first, last: first + 1n }
  return block.address.family === 4 ? [networkAndGateway, { first: last, last }] : [networkAndGateway]
}

/** How many addresses of `family` the pool could ever lease. */
export function capacityOf(pool: Pool, family: Family): bigint {
  return prefixesOf(pool, family).reduce((sum, prefix) => sum + capacityIn(pool, prefix), 0n)
}

// Counted by arithmetic, not block by block: a /56 of /64s is 256 blocks, but a /32 of /64s is four thousand million.
function capacityIn(pool: Pool, prefix: Prefix): bigint {
  const { family } = prefix.address
  const sample: Prefix = { address: prefix.address, prefixLength: blockLengthIn(pool, prefix) }
  const blockSize = sizeOf(sample)
  const structural = structuralRanges(sample)
  const structuralOffsets = structural.flatMap(({ first, last }) =>
    offsetsBetween(first - sample.address.value, last - sample.address.value),
  )
  const excluded = mergeRanges(pool.exclude.filter(each => each.address.family === family).map(rangeOf))
    .map(range => intersect(range, rangeOf(prefix)))
    .filter(range => range !== undefined)
  const blocks = sizeOf(prefix) / blockSize
  let capacity = blocks * (blockSize - BigInt(structuralOffsets.length))
  for (const range of excluded) {
    const offset = { first: range.first - prefix.address.value, last: range.last - prefix.address.value }
    const alreadyCounted = structuralOffsets.reduce(
      (sum, residue) => sum + countResidue(offset, residue, blockSize),
      0n,
    )
    capacity -= sizeOfRange(range) - alreadyCounted
  }
  return capacity
}

function offsetsBetween(first: bigint, last: bigint): readonly bigint[] {
  const offsets: bigint[] = []
  for (let offset = first; offset <= last; offset += 1n) offsets.push(offset)
  return offsets
}

/** How many numbers of the range leave `residue` when divided by `modulus`. */
function countResidue({ first, last }: Range, residue: bigint, modulus: bigint): bigint {
  const upTo = (n: bigint): bigint => (n < residue ? 0n : (n - residue) / modulus + 1n)
  return upTo(last) - upTo(first - 1n)
}

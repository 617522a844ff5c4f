import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import type { LeasedAddress } from '../../lib/ipam/lease.ts'
import { formatAddress, type Address } from '../../lib/net/address.ts'
import {
  bitsOf,
  containsAddress,
  containsPrefix,
  formatPrefix,
  overlaps,
  prefixOf,
  type Prefix,
} from '../../lib/net/prefix.ts'
import type { LeaseEvent } from '../allocator/events.ts'
import { withPodCidrs } from '../allocator/pod-cidr.ts'
import { blockLengthIn, gatewayOf, type Pool } from '../allocator/pool.ts'
import type { LeaseMark } from './lease-mark.ts'

/** What says who has which address when the store does not. */
export interface Evidence {
  /** From the kernel: what a pod really has. */
  readonly kernel: readonly LeaseMark[]
  /** From what can still be read of a damaged store. It may be out of date. */
  readonly damagedStore: readonly LeaseMark[]
  /** Blocks that the node had, from either. Absent: their sizes are those that the configuration gives. */
  readonly blocks?: readonly Prefix[]
  /** Blocks that other nodes were granted from here. */
  readonly granted?: readonly Prefix[]
}

/** What a store is made from. */
export interface Rebuilt {
  readonly events: readonly LeaseEvent[]
  /** What could not become a lease, for the log. */
  readonly refused: readonly string[]
}

/**
 * Makes leases, and the blocks they are in, from evidence. The kernel comes first: where both speak of an attachment or an
 * address, it is right.
 *
 * A lease too many is an address that GC frees later; a lease too few is an address that two pods have. So what the damaged
 * store says is kept, also where nothing confirms it: interfaces that other plugins made have no mark of ours.
 */
export function rebuild(pools: readonly Pool[], evidence: Evidence, nowUnixMs: number): Rebuilt {
  const known = disjoint(evidence.blocks ?? [])
  const rebuilding = new Rebuilding(
    pools.map(pool => withHandedOver(pool, { pools, known })),
    { ground: { known, granted: evidence.granted ?? [] }, nowUnixMs },
  )
  for (const mark of evidence.kernel) rebuilding.take(mark, 'tulle')
  for (const mark of evidence.damagedStore) rebuilding.take(mark, undefined)
  return rebuilding
}

class Rebuilding implements Rebuilt {
  readonly events: LeaseEvent[] = []
  readonly refused: string[] = []
  readonly #pools: readonly Pool[]
  readonly #nowUnixMs: number
  readonly #attachments = new Set<string>()
  readonly #addresses = new Set<string>()
  readonly #blocks = new Set<string>()
  readonly #ground: Ground

  constructor(pools: readonly Pool[], { ground, nowUnixMs }: { readonly ground: Ground; readonly nowUnixMs: number }) {
    this.#pools = pools
    this.#ground = ground
    this.#nowUnixMs = nowUnixMs
  }

  /** Makes the lease that the mark stands for, unless the attachment has one. */
  take({ attachment, addresses }: LeaseMark, via: 'tulle' | undefined): void {
    const key = attachmentKeyText(attachment)
    if (this.#attachments.has(key)) return
    // What is in no pool is nothing that we could lease to somebody else.
    const pool = this.#pools.find(each =>
      addresses.some(address => blockIn(each, { address, ...this.#ground }) !== undefined),
    )
    if (pool === undefined) return this.#refuse(key, addresses, 'in no pool')
    const placed = addresses
      .map(address => leasedIn(pool, { address, ...this.#ground }))
      .filter(each => each !== undefined)
    if (new Set(placed.map(({ address }) => address.family)).size < placed.length) {
      return this.#refuse(key, addresses, 'more than one of a family')
    }
    if (placed.some(({ address }) => this.#addresses.has(formatAddress(address)))) {
      return this.#refuse(key, addresses, 'another attachment has it')
    }
    this.#attachments.add(key)
    for (const { address, block } of placed) {
      this.#addresses.add(formatAddress(address))
      this.#takeBlock(pool, block)
    }
    const lease = { attachment, pool: pool.name, addresses: placed, leasedAtUnixMs: this.#nowUnixMs }
    this.events.push({ type: 'leased', lease, pod: undefined, via })
  }

  #takeBlock(pool: Pool, prefix: Prefix): void {
    const text = formatPrefix(prefix)
    if (this.#blocks.has(text)) return
    this.#blocks.add(text)
    this.events.push({ type: 'block-taken', pool: pool.name, prefix, atUnixMs: this.#nowUnixMs })
  }

  #refuse(key: string, addresses: readonly Address[], why: string): void {
    this.refused.push(`${key}: ${addresses.map(formatAddress).join(', ')}: ${why}`)
  }
}

/** What blocks there are known to have been. */
interface Ground {
  /** The node's. None overlaps another one. */
  readonly known: readonly Prefix[]
  /** Other nodes'. */
  readonly granted: readonly Prefix[]
}

interface Placing extends Ground {
  readonly address: Address
}

/** A pool whose blocks are handed over, with the blocks that are no other pool's: the configuration does not name them. */
function withHandedOver(
  pool: Pool,
  { pools, known }: { readonly pools: readonly Pool[]; readonly known: readonly Prefix[] },
): Pool {
  const others = pools.flatMap(({ prefixes }) => prefixes)
  const prefixes = known.filter(block => !others.some(each => overlaps(each, block)))
  return withPodCidrs(
    pool,
    prefixes.map(prefix => ({ pool: pool.name, prefix })),
  )
}

function leasedIn(pool: Pool, placing: Placing): LeasedAddress | undefined {
  const { address } = placing
  const block = blockIn(pool, placing)
  if (block === undefined) return undefined
  const gateway = gatewayOf(block)
  return { address, block, ...(gateway === undefined ? {} : { gateway }) }
}

/**
 * The block of the pool that has the address: the one that the node had, or as it would be carved now. Where blocks are larger now
 * than those that there were, what is left between them: what overlaps, the store would refuse as a whole.
 */
function blockIn(pool: Pool, { address, known, granted }: Placing): Prefix | undefined {
  const prefix = pool.prefixes.find(each => containsAddress(each, address))
  if (prefix === undefined) return undefined
  const had = known.find(block => containsAddress(block, address) && containsPrefix(prefix, block))
  if (had !== undefined) return had
  for (let length = blockLengthIn(pool, prefix); ; length += 1) {
    const carved = prefixOf(address, length)
    const isFree = ![...known, ...granted].some(each => overlaps(each, carved))
    // An address in a block of another node is a pod's all the same: the block is not granted again.
    if (isFree || length === bitsOf(address.family)) return carved
  }
}

/** Those that overlap none of those before them: in a damaged store may stand anything. */
export function disjoint(prefixes: readonly Prefix[]): readonly Prefix[] {
  const kept: Prefix[] = []
  for (const prefix of prefixes) if (!kept.some(each => overlaps(each, prefix))) kept.push(prefix)
  return kept
}

import type { Address } from '../../lib/net/address.ts'
import type { Prefix } from '../../lib/net/prefix.ts'
import type { Range } from './range.ts'
import type { FamilyState, PoolState } from './state.ts'

/** An address that may be leased. */
export interface FreeAddress {
  readonly address: Address
  readonly block: Prefix
  /** True when the node must take the block first. */
  readonly takes: boolean
}

/** Who asks for an address of which family, and when. */
export interface Demand {
  readonly pool: PoolState
  readonly family: FamilyState
  readonly owner?: string | undefined
  /** The only addresses that will do, sorted and disjoint. Absent: all of the pool. */
  readonly within?: readonly Range[] | undefined
  /** True when the upstream of the pool has no block for this node. */
  readonly upstreamIsExhausted?: boolean | undefined
  readonly nowUnixMs: number
}

/** True when the node may have no more blocks of the family. */
export function isAtBlockLimit({ pool }: PoolState, family: FamilyState): boolean {
  return pool.maxBlocks !== undefined && family.blocks.length >= pool.maxBlocks
}

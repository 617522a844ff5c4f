import type { Prefix } from '../../lib/net/prefix.ts'
import type { Pool } from './pool.ts'

/** A range that was handed over for a pool. */
export interface PodCidr {
  readonly pool: string
  readonly prefix: Prefix
}

/** The pool with what was handed over for it as its prefixes, each of them one block; any other pool as it is. */
export function withPodCidrs(pool: Pool, podCidrs: readonly PodCidr[]): Pool {
  if (pool.blockSource?.type !== 'kubernetes') return pool
  const prefixes = podCidrs.filter(each => each.pool === pool.name).map(({ prefix }) => prefix)
  return { ...pool, prefixes, blockPrefixLength: { 4: 0, 6: 0 } }
}

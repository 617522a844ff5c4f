import type { PoolReport } from '../../lib/ipam/protocol.ts'
import { capacityOf, familiesOf, type Pool } from './pool.ts'
import type { PoolState, State } from './state.ts'

/** What each pool holds, in the order of the configuration. */
export function reportPools(state: State, nowUnixMs: number): readonly PoolReport[] {
  return [...state.pools.values()].map(pool => reportPool(state, pool, nowUnixMs))
}

function reportPool(state: State, { pool, families, leaseCount }: PoolState, nowUnixMs: number): PoolReport {
  const cooling = families.map(family => family.freed.countCooling(nowUnixMs))
  return {
    name: pool.name,
    prefixes: pool.prefixes,
    blocks: state.blocks
      .filter(block => block.pool === pool.name && block.node === undefined)
      .map(({ prefix }) => ({ prefix })),
    leased: leaseCount,
    cooling: Math.max(0, ...cooling),
    capacity: leaseCapacityOf(pool),
    families: families.map(({ family, leased }, index) => ({
      family,
      leased: leased.size,
      cooling: cooling[index] ?? 0,
      capacity: capacityOf(pool, family),
    })),
  }
}

/** How many leases the pool can hold. A lease has an address of each family, so the smallest family decides. */
function leaseCapacityOf(pool: Pool): bigint {
  const [first = 0n, ...others] = familiesOf(pool).map(family => capacityOf(pool, family))
  return others.reduce((least, capacity) => (capacity < least ? capacity : least), first)
}

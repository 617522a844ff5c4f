import { IpamProblem } from '../lib/ipam/errors.ts'
import type { PoolExhausted, Refusal } from './allocator/allocate.ts'
import type { StoreError } from './store/store-error.ts'

/** The problem that tells the caller why nothing was leased. */
export function problemOf(refusal: Refusal, nowUnixMs: number): IpamProblem {
  if (refusal.kind === 'pool-exhausted') return exhaustedProblem(refusal, nowUnixMs)
  const { pool, known } = refusal
  return new IpamProblem('unknown-pool', `no pool ${JSON.stringify(pool)}: want one of ${known.join(', ')}`, {
    members: { pool },
  })
}

function exhaustedProblem(refusal: PoolExhausted, nowUnixMs: number): IpamProblem {
  const { pool, family, leased, cooling, capacity, nextFreeAtUnixMs } = refusal
  const parts = [`${leased} leased`, `${cooling} cooling down`, `${capacity} in all`]
  if (nextFreeAtUnixMs !== undefined) {
    parts.push(`the next is free in ${Math.max(0, Math.ceil((nextFreeAtUnixMs - nowUnixMs) / 1000))} s`)
  }
  return new IpamProblem('pool-exhausted', `pool "${pool}" has no free IPv${family} address: ${parts.join(', ')}`, {
    members: { pool, family, leased, cooling, capacity: capacity.toString() },
  })
}

export function storeFailed(cause: StoreError): IpamProblem {
  return new IpamProblem('store-failed', cause.message, { cause })
}

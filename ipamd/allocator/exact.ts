import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import type { AddressRange } from '../../lib/net/address-range.ts'
import type { Address } from '../../lib/net/address.ts'
import { containsAddress, overlaps, prefixOf, type Prefix } from '../../lib/net/prefix.ts'
import { isAtBlockLimit, type Demand, type FreeAddress } from './demand.ts'
import { isKept } from './freed-addresses.ts'
import { blockLengthIn, gatewayOf, reservedIn, type Pool } from './pool.ts'
import { isWithin } from './range.ts'
import type { BlockState, State } from './state.ts'
import { withFamily } from './within.ts'

/** Why a certain address is not leased. */
export type AddressRefused = { readonly kind: 'address-refused'; readonly address: Address } & (
  | { readonly why: 'outside'; readonly pool: Pool }
  /** The request restricts its family to these ranges. */
  | { readonly why: 'not-within'; readonly ranges: readonly AddressRange[] }
  /** It is the network address, the gateway or the broadcast address of its block, or the pool excludes it. */
  | { readonly why: 'never-leased'; readonly block: Prefix; readonly role: 'gateway' | 'excluded or a network address' }
  | { readonly why: 'leased'; readonly holder: string }
  | { readonly why: 'reserved'; readonly owner: string }
  | { readonly why: 'kept'; readonly owner: string; readonly untilUnixMs: number }
  | { readonly why: 'cooling'; readonly untilUnixMs: number }
  | {
      readonly why: 'block-in-the-way'
      readonly block: Prefix
      readonly other: Prefix
      readonly node?: string | undefined
    }
  /** The upstream decides which blocks a node gets. */
  | { readonly why: 'not-granted'; readonly block: Prefix }
  | { readonly why: 'block-limit'; readonly block: Prefix; readonly limit: number }
)

/** Decides whether the very address can be leased now. Takes the block around it when nobody has that. Changes nothing. */
export function findExact(state: State, demand: Demand & { readonly address: Address }): FreeAddress | AddressRefused {
  const { pool, family, address } = demand
  const prefix = pool.pool.prefixes.find(each => containsAddress(each, address))
  const refuse = { kind: 'address-refused', address } as const
  if (prefix === undefined) return { ...refuse, why: 'outside', pool: pool.pool }
  const { within } = demand
  if (within !== undefined && !isWithin(within, address.value)) {
    return { ...refuse, why: 'not-within', ranges: withFamily(within, family.family) }
  }
  const held = blockOf(family.blocks, address)
  const block = held?.prefix ?? prefixOf(address, blockLengthIn(pool.pool, prefix))
  const never = (held?.reserved ?? reservedIn(pool.pool, block)).some(
    range => range.first <= address.value && address.value <= range.last,
  )
  if (never) {
    const role = gatewayOf(block)?.value === address.value ? 'gateway' : 'excluded or a network address'
    return { ...refuse, why: 'never-leased', block, role }
  }
  if (family.leased.has(address.value)) {
    const holder = state.leases.holderOf(address)
    return { ...refuse, why: 'leased', holder: holder === undefined ? 'somebody' : attachmentKeyText(holder) }
  }
  const refusal = reservedOrCooling(demand)
  if (refusal !== undefined) return { ...refuse, ...refusal }
  if (held !== undefined) return { address, block, takes: false }
  const other = state.blocks.find(each => overlaps(each.prefix, block))
  if (other !== undefined) return { ...refuse, why: 'block-in-the-way', block, other: other.prefix, node: other.node }
  if (isAtBlockLimit(pool, family)) return { ...refuse, why: 'block-limit', block, limit: family.blocks.length }
  if (pool.pool.blockSource?.type === 'socket') return { ...refuse, why: 'not-granted', block }
  return { address, block, takes: true }
}

type Unavailable =
  | { readonly why: 'reserved'; readonly owner: string }
  | { readonly why: 'kept'; readonly owner: string; readonly untilUnixMs: number }
  | { readonly why: 'cooling'; readonly untilUnixMs: number }

function reservedOrCooling({
  pool,
  family,
  address,
  owner,
  nowUnixMs,
}: Demand & { readonly address: Address }): Unavailable | undefined {
  const reservation = family.reservations.get(address.value)
  if (reservation !== undefined && reservation.owner !== owner) return { why: 'reserved', owner: reservation.owner }
  const freed = family.freed.get(address.value)
  // The packets that are still on their way are the owner's own.
  if (freed === undefined || (owner !== undefined && freed.owner === owner)) return undefined
  // A reservation says that the address is this owner's now, whoever it was kept for.
  if (reservation === undefined && freed.owner !== undefined && isKept(freed, nowUnixMs)) {
    return { why: 'kept', owner: freed.owner, untilUnixMs: freed.freedAtUnixMs + freed.keepMs }
  }
  if (!family.freed.isCooling(freed, nowUnixMs) || pool.pool.whenOnlyCooling === 'takeOldest') return undefined
  return { why: 'cooling', untilUnixMs: freed.freedAtUnixMs + pool.pool.cooldownMs }
}

function blockOf(blocks: readonly BlockState[], address: Address): BlockState | undefined {
  return blocks.find(each => containsAddress(each.prefix, address))
}

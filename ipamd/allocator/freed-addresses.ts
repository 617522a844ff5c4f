import type { Prefix } from '../../lib/net/prefix.ts'
import { FreedQueue, type FreedAddress } from './freed-queue.ts'
import { isWithin, sizeOfRange, type Range } from './range.ts'

// The size of ranges up to which each of their addresses is looked up.
const MAX_LOOK_UPS = 1024n

/**
 * The freed addresses of one family of a pool: which is free for anybody, which is kept for its last owner, which is reserved.
 *
 * Addresses that are kept equally long stand in one queue: the one that was freed first is then also the one that is kept
 * no longer first, and finding it needs no search. There are as many queues as lengths that requests have named, which are few.
 */
export class FreedAddresses {
  readonly #cooldownMs: number
  readonly #queues = new Map<number, FreedQueue>()
  readonly #queueOf = new Map<bigint, FreedQueue>()
  /** Those that only the owner of their reservation may have. */
  readonly #reserved = new FreedQueue()
  readonly #byOwner = new Map<string, Set<bigint>>()

  constructor(cooldownMs: number) {
    this.#cooldownMs = cooldownMs
  }

  get(value: bigint): FreedAddress | undefined {
    return this.#queueOf.get(value)?.get(value)
  }

  has(value: bigint): boolean {
    return this.#queueOf.has(value)
  }

  /** Adds an address that is free from now on. */
  push(freed: FreedAddress, isReserved: boolean): void {
    const queue = isReserved ? this.#reserved : this.#queueFor(freed.keepMs)
    queue.push(freed)
    this.#remember(freed, queue)
  }

  #remember(freed: FreedAddress, queue: FreedQueue): void {
    this.#queueOf.set(freed.value, queue)
    // Not those that are kept for no time: an owner may have left thousands, and keptFor() looks at each.
    if (freed.owner === undefined || freed.keepMs === 0) return
    const values = this.#byOwner.get(freed.owner) ?? new Set()
    this.#byOwner.set(freed.owner, values.add(freed.value))
  }

  delete(value: bigint): void {
    const freed = this.get(value)
    if (freed === undefined) return
    this.#queueOf.get(value)?.delete(value)
    this.#forget(freed)
  }

  /** Removes every address of the block. Costs O(n) in the number of freed addresses. */
  deleteBlock(block: Prefix): void {
    for (const [value, queue] of this.#queueOf) {
      const freed = queue.get(value)
      if (freed?.block.address.value === block.address.value) this.#forget(freed)
    }
    for (const queue of this.#all()) queue.deleteBlock(block)
  }

  /** Takes the address out of the reach of everybody, or puts it back. */
  setReserved(value: bigint, isReserved: boolean): void {
    const freed = this.get(value)
    if (freed === undefined) return
    this.delete(value)
    if (isReserved) return this.push(freed, true)
    const queue = this.#queueFor(freed.keepMs)
    // Others may have been freed since: at the end it would wait for all of them.
    queue.insert(freed)
    this.#remember(freed, queue)
  }

  /** What anybody may have: cooled down, and kept for nobody. The least recently freed one in the ranges, if there are any. */
  available(nowUnixMs: number, within?: readonly Range[]): FreedAddress | undefined {
    return this.#leastRecent(
      ({ freedAtUnixMs, keepMs }) => freedAtUnixMs + Math.max(this.#cooldownMs, keepMs) <= nowUnixMs,
      within,
    )
  }

  /** The least recently freed one that has cooled down but is still kept for its owner. */
  keptButCool(nowUnixMs: number, within?: readonly Range[]): FreedAddress | undefined {
    return this.#leastRecent(({ freedAtUnixMs }) => freedAtUnixMs + this.#cooldownMs <= nowUnixMs, within)
  }

  /** The least recently freed one that is not reserved, cooling or not. */
  oldest(within?: readonly Range[]): FreedAddress | undefined {
    return this.#leastRecent(() => true, within)
  }

  /** An address that the owner had last and that is kept for it still. Nobody had it since, so it need not cool down. */
  keptFor(owner: string, nowUnixMs: number, within?: readonly Range[]): FreedAddress | undefined {
    for (const value of this.#byOwner.get(owner) ?? []) {
      if (!isWithin(within, value)) continue
      const freed = this.get(value)
      if (freed !== undefined && this.#queueOf.get(value) !== this.#reserved && isKept(freed, nowUnixMs)) return freed
    }
    return undefined
  }

  isCooling({ freedAtUnixMs }: FreedAddress, nowUnixMs: number): boolean {
    return freedAtUnixMs + this.#cooldownMs > nowUnixMs
  }

  countCooling(nowUnixMs: number): number {
    return this.#all().reduce((sum, queue) => sum + queue.countFreedAfter(nowUnixMs - this.#cooldownMs), 0)
  }

  /** When the first address that is not reserved has cooled down. */
  nextFreeAtUnixMs(within?: readonly Range[]): number | undefined {
    const oldest = this.oldest(within)
    return oldest === undefined ? undefined : oldest.freedAtUnixMs + this.#cooldownMs
  }

  /** Moves the moment at which each address was freed. */
  shift(ms: number): void {
    for (const queue of this.#all()) queue.shift(ms)
  }

  #leastRecent(isEligible: IsEligible, within: readonly Range[] | undefined): FreedAddress | undefined {
    if (within !== undefined) return this.#leastRecentWithin(within, isEligible)
    let found: FreedAddress | undefined
    for (const queue of this.#queues.values()) {
      const head = queue.oldest()
      if (head === undefined || !isEligible(head)) continue
      if (found === undefined || head.freedAtUnixMs < found.freedAtUnixMs) found = head
    }
    return found
  }

  /** Few addresses are looked up one by one; where there are many, one of the first in the queues is among them, as a rule. */
  #leastRecentWithin(within: readonly Range[], isEligible: IsEligible): FreedAddress | undefined {
    const size = within.reduce((sum, range) => sum + sizeOfRange(range), 0n)
    const found =
      size <= MAX_LOOK_UPS
        ? within.flatMap(range => this.#anybodysIn(range)).filter(isEligible)
        : [...this.#queues.values()].map(queue => queue.oldestOf(value => isWithin(within, value), isEligible))
    return found.reduce(earlier, undefined)
  }

  #anybodysIn({ first, last }: Range): readonly FreedAddress[] {
    const found: FreedAddress[] = []
    for (let value = first; value <= last; value += 1n) {
      const queue = this.#queueOf.get(value)
      const freed = queue === this.#reserved ? undefined : queue?.get(value)
      if (freed !== undefined) found.push(freed)
    }
    return found
  }

  #queueFor(keepMs: number): FreedQueue {
    const known = this.#queues.get(keepMs)
    if (known !== undefined) return known
    // Those that are used up: else every length that was ever named would be looked at.
    for (const [length, queue] of this.#queues) if (queue.size === 0) this.#queues.delete(length)
    const queue = new FreedQueue()
    this.#queues.set(keepMs, queue)
    return queue
  }

  #all(): readonly FreedQueue[] {
    return [...this.#queues.values(), this.#reserved]
  }

  #forget({ value, owner }: FreedAddress): void {
    this.#queueOf.delete(value)
    if (owner === undefined) return
    const values = this.#byOwner.get(owner)
    values?.delete(value)
    if (values?.size === 0) this.#byOwner.delete(owner)
  }
}

type IsEligible = (freed: FreedAddress) => boolean

/** The one that was freed first; the first of two that were freed at once. */
function earlier(a: FreedAddress | undefined, b: FreedAddress | undefined): FreedAddress | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return b.freedAtUnixMs < a.freedAtUnixMs ? b : a
}

export function isKept({ freedAtUnixMs, keepMs, owner }: FreedAddress, nowUnixMs: number): boolean {
  return owner !== undefined && freedAtUnixMs + keepMs > nowUnixMs
}

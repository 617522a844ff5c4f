import type { Prefix } from '../../lib/net/prefix.ts'

/** An address that was leased once and is not now. */
export interface FreedAddress {
  readonly value: bigint
  readonly block: Prefix
  readonly freedAtUnixMs: number
  /** Who had it last, when that was said. */
  readonly owner: string | undefined
  /** How long it is kept for the owner. */
  readonly keepMs: number
}

// The array is cut when this many of its first entries are used up, so that taking from the front is O(1) on average.
const COMPACT_AFTER = 1024

/**
 * Freed addresses, least recently freed first (checklist R8). Every method but insert(), oldestOf(), countFreedAfter(), shift() and
 * deleteBlock() is O(1) on average.
 */
export class FreedQueue {
  #order: FreedAddress[] = []
  #head = 0
  readonly #byValue = new Map<bigint, FreedAddress>()

  get size(): number {
    return this.#byValue.size
  }

  get(value: bigint): FreedAddress | undefined {
    return this.#byValue.get(value)
  }

  push(freed: FreedAddress): void {
    this.#byValue.set(freed.value, freed)
    this.#order.push(freed)
    this.#sweep()
  }

  /** Adds an address that was freed before others of the queue, at its place. Costs O(n). */
  insert(freed: FreedAddress): void {
    // Filtered before the address is known: what delete() left of it goes.
    const others = this.#order.slice(this.#head).filter(each => this.#byValue.get(each.value) === each)
    const index = others.findIndex(each => each.freedAtUnixMs > freed.freedAtUnixMs)
    this.#order = others.toSpliced(index === -1 ? others.length : index, 0, freed)
    this.#head = 0
    this.#byValue.set(freed.value, freed)
  }

  /** The address that was freed longest ago. */
  oldest(): FreedAddress | undefined {
    for (;;) {
      const candidate = this.#order[this.#head]
      if (candidate === undefined || this.#byValue.get(candidate.value) === candidate) return candidate
      // delete() left it in the array: finding it there would cost a scan.
      this.#head += 1
      this.#compact()
    }
  }

  /** The address that was freed longest ago among those that are wanted, as long as they are eligible. Costs O(n). */
  oldestOf(
    isWanted: (value: bigint) => boolean,
    isEligible: (freed: FreedAddress) => boolean,
  ): FreedAddress | undefined {
    for (let index = this.#head; index < this.#order.length; index += 1) {
      const freed = this.#order[index]
      if (freed === undefined || this.#byValue.get(freed.value) !== freed) continue
      // Those behind it were freed later.
      if (!isEligible(freed)) return undefined
      if (isWanted(freed.value)) return freed
    }
    return undefined
  }

  /** Removes the address, wherever it stands. */
  delete(value: bigint): void {
    this.#byValue.delete(value)
  }

  /** Removes every address of the block. */
  deleteBlock(block: Prefix): void {
    for (const { value, block: its } of this.#byValue.values()) {
      if (its.address.value === block.address.value) this.#byValue.delete(value)
    }
  }

  /** How many addresses were freed after the given moment. */
  countFreedAfter(unixMs: number): number {
    let count = 0
    for (const { freedAtUnixMs } of this.#byValue.values()) if (freedAtUnixMs > unixMs) count += 1
    return count
  }

  /** Moves the moment at which each address was freed. The order stays. */
  shift(ms: number): void {
    const kept = this.#order.slice(this.#head).filter(freed => this.#byValue.get(freed.value) === freed)
    this.#order = kept.map(freed => ({ ...freed, freedAtUnixMs: freed.freedAtUnixMs + ms }))
    this.#head = 0
    for (const freed of this.#order) this.#byValue.set(freed.value, freed)
  }

  /** Removes what delete() left behind an address that stays: nothing else ever would, and it would grow with each release. */
  #sweep(): void {
    if (this.#order.length < COMPACT_AFTER || this.#order.length < this.#byValue.size * 2) return
    this.#order = this.#order.slice(this.#head).filter(each => this.#byValue.get(each.value) === each)
    this.#head = 0
  }

  #compact(): void {
    if (this.#head < COMPACT_AFTER || this.#head * 2 < this.#order.length) return
    this.#order = this.#order.slice(this.#head)
    this.#head = 0
  }
}

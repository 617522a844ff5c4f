// Forgotten all at once when there are as many: searches begin at few addresses, those that somebody's configuration names.
const MAX_RUNS = 1024

/**
 * Remembers runs of addresses none of which can be leased for the first time, so that a search which begins at the same address
 * again need not step over them again. It only spares steps: without it every answer is the same.
 *
 * clear() it whenever an address leaves the state of being used.
 */
export class UsedRuns {
  readonly #endOf = new Map<bigint, bigint>()

  /**
   * The first address from `first` to `last` that is not used.
   *
   * @param stepOver returns the address itself when it is not used, or else the first behind it that may not be.
   */
  firstUnused(
    { first, last }: { readonly first: bigint; readonly last: bigint },
    stepOver: (value: bigint) => bigint,
  ): bigint | undefined {
    let value = first
    while (value <= last) {
      const next = this.#endOf.get(value) ?? stepOver(value)
      if (next === value) break
      value = next
    }
    if (value !== first) this.#remember(first, value)
    return value <= last ? value : undefined
  }

  clear(): void {
    this.#endOf.clear()
  }

  #remember(first: bigint, end: bigint): void {
    if (this.#endOf.size >= MAX_RUNS && !this.#endOf.has(first)) this.clear()
    this.#endOf.set(first, end)
  }
}

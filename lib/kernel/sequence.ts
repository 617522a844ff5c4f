const LAST = 0xffff_ffff

/**
 * Sequence numbers of netlink messages.
 *
 * They are 32 bits and come round again after four thousand million messages. Those of one exchange never do, so that
 * "first to last" is always a plain range, and 0 is never given: notifications carry it.
 */
export class Sequence {
  #last: number

  /** @param last the number that was given last. */
  constructor(last = 0) {
    this.#last = last
  }

  /** The next `count` numbers, ascending and without a gap. */
  take(count: number): readonly number[] {
    const first = this.#last > LAST - count ? 1 : this.#last + 1
    this.#last = first + count - 1
    return Array.from({ length: count }, (_, index) => first + index)
  }
}

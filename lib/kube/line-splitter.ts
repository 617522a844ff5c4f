/**
 * Cuts a stream of bytes into lines, wherever the pieces end. Half a line waits for its rest; a line has a bound.
 */
export class LineSplitter {
  readonly #maxBytes: number
  #pieces: Buffer[] = []
  #length = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  /**
   * The lines that end in `chunk`, without their ends; empty ones are left out.
   *
   * @throws {RangeError} when a line is longer than it may be.
   */
  push(chunk: Buffer): readonly string[] {
    const lines: string[] = []
    let from = 0
    for (let end = chunk.indexOf(10); end !== -1; end = chunk.indexOf(10, from)) {
      this.#keep(chunk.subarray(from, end))
      const line = Buffer.concat(this.#pieces).toString('utf8').trim()
      if (line !== '') lines.push(line)
      this.#pieces = []
      this.#length = 0
      from = end + 1
    }
    if (from < chunk.length) this.#keep(chunk.subarray(from))
    return lines
  }

  /** True when a line has begun and not ended. */
  get hasRest(): boolean {
    return this.#length > 0
  }

  #keep(piece: Buffer): void {
    this.#length += piece.length
    if (this.#length > this.#maxBytes) throw new RangeError(`a line of more than ${this.#maxBytes} bytes`)
    this.#pieces.push(piece)
  }
}

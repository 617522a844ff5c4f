/** How many addresses share one array of bits: a /24 of IPv4. */
const CHUNK_BITS = 8n
const WORDS = 8

interface Chunk {
  readonly words: Uint32Array
  size: number
}

/**
 * A set of addresses of one family, a bit for each. Leases are many, and those of a block lie side by side: 60,000 of them take some
 * kilobytes here, and some megabytes in a Set.
 */
export class AddressSet {
  readonly #chunks = new Map<bigint, Chunk>()
  #size = 0

  get size(): number {
    return this.#size
  }

  has(value: bigint): boolean {
    const { word, bit } = placeOf(value)
    return (((this.#chunks.get(value >> CHUNK_BITS)?.words[word] ?? 0) >>> bit) & 1) === 1
  }

  add(value: bigint): void {
    if (this.has(value)) return
    const key = value >> CHUNK_BITS
    const chunk = this.#chunks.get(key) ?? { words: new Uint32Array(WORDS), size: 0 }
    this.#chunks.set(key, chunk)
    this.#flip(chunk, value)
    chunk.size += 1
    this.#size += 1
  }

  delete(value: bigint): void {
    const key = value >> CHUNK_BITS
    const chunk = this.#chunks.get(key)
    if (chunk === undefined || !this.has(value)) return
    this.#flip(chunk, value)
    chunk.size -= 1
    this.#size -= 1
    if (chunk.size === 0) this.#chunks.delete(key)
  }

  #flip({ words }: Chunk, value: bigint): void {
    const { word, bit } = placeOf(value)
    words[word] = (words[word] ?? 0) ^ (1 << bit)
  }
}

function placeOf(value: bigint): { readonly word: number; readonly bit: number } {
  const index = Number(BigInt.asUintN(Number(CHUNK_BITS), value))
  return { word: index >>> 5, bit: index & 31 }
}

/** Numbers that look random and are the same for the same seed. */
export interface Random {
  /** At least 0 and below 1. */
  next(): number
  /** A whole number, at least 0 and below `end`. */
  below(end: number): number
}

/** Mulberry32: 32 bits of state are enough to choose what a test does. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0
  function next(): number {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return { next, below: end => Math.floor(next() * end) }
}

/** The seed that the environment variable names, for a run that is to be repeated; else a new one. */
export function seedFrom(variable: string): number {
  const text = process.env[variable]
  return text === undefined ? Math.floor(Math.random() * 2 ** 32) : countFrom(variable, 0)
}

/** The number that the environment variable names, else `fallback`. @throws {Error} for something else than a count. */
export function countFrom(variable: string, fallback: number): number {
  const text = process.env[variable]
  if (text === undefined) return fallback
  if (!/^[0-9]{1,10}$/.test(text)) throw new Error(`${variable}: ${JSON.stringify(text)}: want a number`)
  return Number(text)
}

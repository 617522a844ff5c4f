import { firstAddress, lastAddress, type Prefix } from '../../lib/net/prefix.ts'

/** Addresses of one family from `first` to `last`, both included, as numbers. */
export interface Range {
  readonly first: bigint
  readonly last: bigint
}

export function rangeOf(prefix: Prefix): Range {
  return { first: firstAddress(prefix).value, last: lastAddress(prefix).value }
}

export function sizeOfRange({ first, last }: Range): bigint {
  return last - first + 1n
}

export function intersect(a: Range, b: Range): Range | undefined {
  const first = a.first > b.first ? a.first : b.first
  const last = a.last < b.last ? a.last : b.last
  return first > last ? undefined : { first, last }
}

/** Whether the address is in one of the ranges; undefined ranges are no restriction. */
export function isWithin(ranges: readonly Range[] | undefined, value: bigint): boolean {
  return ranges === undefined || ranges.some(({ first, last }) => first <= value && value <= last)
}

/** The same addresses as sorted ranges that neither overlap nor touch. */
export function mergeRanges(ranges: readonly Range[]): readonly Range[] {
  const merged: Range[] = []
  for (const range of ranges.toSorted((a, b) => compare(a.first, b.first))) {
    const previous = merged.at(-1)
    if (previous === undefined || range.first > previous.last + 1n) merged.push(range)
    else if (range.last > previous.last) merged[merged.length - 1] = { first: previous.first, last: range.last }
  }
  return merged
}

function compare(a: bigint, b: bigint): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

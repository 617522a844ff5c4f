import { overlaps, type Prefix } from '../../lib/net/prefix.ts'

/** A range of which nothing may be leased here, because it is something else's. */
export interface ForeignRange {
  readonly prefix: Prefix
  /** For a person: where it comes from. */
  readonly source: string
}

/** Two ranges that overlap. */
export interface Overlap {
  readonly kind: 'overlaps'
  /** The one that was to be used. */
  readonly wanted: Prefix
  readonly other: ForeignRange
}

/** The first of `wanted` that overlaps something, with what it overlaps. */
export function findOverlap(wanted: readonly Prefix[], others: readonly ForeignRange[]): Overlap | undefined {
  for (const prefix of wanted) {
    const other = others.find(each => overlaps(each.prefix, prefix))
    if (other !== undefined) return { kind: 'overlaps', wanted: prefix, other }
  }
  return undefined
}

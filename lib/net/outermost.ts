import { compareAddresses } from './address.ts'
import { containsPrefix, type Prefix } from './prefix.ts'

/** Those of `prefixes` that lie in no other one, each once: they cover the same addresses, and do not overlap. */
export function outermost(prefixes: readonly Prefix[]): readonly Prefix[] {
  const kept: Prefix[] = []
  // The wider one of two that begin alike comes first; two prefixes overlap only when one contains the other.
  for (const prefix of prefixes.toSorted(byPlace)) {
    const last = kept.at(-1)
    if (last === undefined || !containsPrefix(last, prefix)) kept.push(prefix)
  }
  return kept
}

function byPlace(a: Prefix, b: Prefix): number {
  return compareAddresses(a.address, b.address) || a.prefixLength - b.prefixLength
}

/** Something that was seen, and since when without a break. */
export interface Remembered {
  /** What makes it the same thing in two observations. */
  readonly key: string
  /** When it was first seen, on a clock that nobody sets, in milliseconds. */
  readonly sinceUptimeMs: number
}

/** Keeps the beginning of what was seen before; what was not seen this time is forgotten. */
export function remember<T extends { readonly key: string }>(
  seen: readonly T[],
  { before, nowUptimeMs }: { readonly before: ReadonlyMap<string, Remembered>; readonly nowUptimeMs: number },
): ReadonlyMap<string, T & Remembered> {
  return new Map(
    seen.map(each => [each.key, { ...each, sinceUptimeMs: before.get(each.key)?.sinceUptimeMs ?? nowUptimeMs }]),
  )
}

/** Those that were seen twice or more, for at least `graceMs` (checklist R6). */
export function ripe<T extends Pick<Remembered, 'sinceUptimeMs'>>(
  memory: ReadonlyMap<unknown, T>,
  { graceMs, nowUptimeMs }: { readonly graceMs: number; readonly nowUptimeMs: number },
): readonly T[] {
  // What was first seen now was seen once, even with a grace of nothing.
  return [...memory.values()].filter(
    ({ sinceUptimeMs }) => sinceUptimeMs < nowUptimeMs && nowUptimeMs - sinceUptimeMs >= graceMs,
  )
}

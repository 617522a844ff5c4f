/** A number in as many digits as a reader can use: three, and no exponent. */
export function shown(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString('en-US')
  return value >= 10 ? value.toFixed(1) : value.toFixed(2)
}

/** Milliseconds, or seconds from ten of them on. */
export function shownMs(ms: number): string {
  return ms < 10_000 ? shown(ms) : `${shown(ms / 1000)} s`
}

export function shownMib(kib: number): string {
  return `${shown(kib / 1024)} MiB`
}

/** A ratio to two digits that count. */
export function shownRatio(ratio: number): string {
  return ratio >= 0.1 ? ratio.toFixed(2) : ratio.toPrecision(2)
}

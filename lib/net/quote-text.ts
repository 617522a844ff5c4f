/** Longest text that an error message repeats. Text from outside may be as long as its sender likes. */
const MAX_QUOTED = 100

/** Renders text from outside for an error message: in quotes, control characters escaped, cut when it is long. */
export function quoteText(text: string): string {
  if (text.length <= MAX_QUOTED) return JSON.stringify(text)
  return `${JSON.stringify(text.slice(0, MAX_QUOTED))}… (${text.length} characters)`
}

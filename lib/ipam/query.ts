import { ParseError } from '../net/parse-error.ts'
import { quoteText } from '../net/quote-text.ts'
import { shortened } from './fields.ts'

/** Reads a query whose names are all in `known`. @throws {ParseError} for an unknown name, and for one that is given twice. */
export function singleValues(query: URLSearchParams, known: readonly string[]): ReadonlyMap<string, string> {
  const values = new Map<string, string>()
  for (const [key, value] of query) {
    if (!known.includes(key))
      throw new ParseError(`query.${shortened(key)}: unknown parameter, want one of ${known.join(', ')}`)
    if (values.has(key)) throw new ParseError(`query.${key}: given twice, want it once`)
    values.set(key, value)
  }
  return values
}

/** Parses a whole number of at most 15 digits, which a double holds exactly. @throws {ParseError} */
export function parseWholeNumber(text: string): number {
  if (!/^[0-9]{1,15}$/.test(text)) throw new ParseError(`${quoteText(text)}: want a whole number from 0`)
  return Number(text)
}

/** Makes a parser of the size of a page, from 1 to `most`. */
export function parseLimit(most: number): (text: string) => number {
  return text => {
    const limit = parseWholeNumber(text)
    if (limit < 1 || limit > most) throw new ParseError(`${quoteText(text)}: want a number from 1 to ${most}`)
    return limit
  }
}

// RFC 3339, section 5.6, with upper-case letters. Date.parse() alone also takes texts without a zone, as local time.
const MOMENT = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/

/** Parses a moment, in unix milliseconds or as RFC 3339 text with its zone. @throws {ParseError} */
export function parseMoment(text: string): number {
  if (/^[0-9]+$/.test(text)) return parseWholeNumber(text)
  const unixMs = MOMENT.test(text) && isDate(text.slice(0, 10)) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(unixMs)) {
    throw new ParseError(
      `${quoteText(text)}: want RFC 3339 text with its zone (2026-01-31T14:03:00Z) or unix milliseconds`,
    )
  }
  return unixMs
}

// Date.parse() takes 30 February for 2 March.
function isDate(text: string): boolean {
  const unixMs = Date.parse(`${text}T00:00:00Z`)
  return !Number.isNaN(unixMs) && new Date(unixMs).toISOString().startsWith(text)
}

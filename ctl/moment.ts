import { ParseError } from '../lib/net/parse-error.ts'
import { quoteText } from '../lib/net/quote-text.ts'

const DAY_MS = 24 * 60 * 60 * 1000

const TIME_OF_DAY = /^([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?$/
const DATE_AND_TIME =
  /^(\d{4}-\d{2}-\d{2})[Tt ]((?:[01]\d|2[0-3]):[0-5]\d)(:[0-5]\d(?:\.\d{1,9})?)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?$/

/**
 * Reads a moment: `14:03`, `14:03:20`, `2026-11-23T14:03`, or RFC 3339 with its zone. Without a zone the time is UTC, as in
 * the log of ipamd and in all that tullectl prints. A time of day is the last one: today's, or yesterday's when today's is
 * still to come.
 *
 * @returns unix milliseconds.
 * @throws {ParseError}
 */
export function parseMoment(text: string, nowUnixMs: number): number {
  const [isTimeOfDay, hours, minutes, seconds = '0'] = TIME_OF_DAY.exec(text) ?? []
  if (isTimeOfDay !== undefined) {
    const midnight = nowUnixMs - (nowUnixMs % DAY_MS)
    const today = midnight + ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000
    return today > nowUnixMs ? today - DAY_MS : today
  }
  const [isDateAndTime, date = '', time, fraction = ':00', zone = 'Z'] = DATE_AND_TIME.exec(text) ?? []
  const unixMs = isDateAndTime === undefined ? NaN : Date.parse(`${date}T${time}${fraction}${zone.toUpperCase()}`)
  // Date.parse() takes 30 February for 2 March.
  if (Number.isNaN(unixMs) || !isDate(date)) {
    throw new ParseError(`${quoteText(text)}: want 14:03, 2026-11-23T14:03 (UTC) or RFC 3339 with a zone`)
  }
  return unixMs
}

function isDate(text: string): boolean {
  const unixMs = Date.parse(`${text}T00:00:00Z`)
  return !Number.isNaN(unixMs) && new Date(unixMs).toISOString().startsWith(text)
}

/** A moment as RFC 3339 in UTC, to the second. */
export function formatMoment(unixMs: number): string {
  // Date knows years to 275760: a time beyond them is a broken answer, and is shown as it came.
  if (Math.abs(unixMs) > 8.64e15) return String(unixMs)
  return new Date(unixMs).toISOString().replace(/\.\d{3}Z$/, 'Z')
}

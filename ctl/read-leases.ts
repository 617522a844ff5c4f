import { parseLeasePage } from '../lib/ipam/inspection.ts'
import { PATHS } from '../lib/ipam/protocol.ts'
import { ParseError } from '../lib/net/parse-error.ts'
import type { Ask } from './ask.ts'
import { understood } from './understood.ts'

/** The parameters of GET /v1/leases; those that are undefined are left out. */
export type LeaseParameters = Readonly<Record<string, string | undefined>>

/** Reads all leases that match, page by page. @returns their documents, as they came. */
export async function readLeases(ask: Ask, parameters: LeaseParameters): Promise<readonly object[]> {
  const documents: object[] = []
  let after = 0
  for (;;) {
    const page = await ask.get(`${PATHS.leases}${queryOf({ ...parameters, after: String(after) })}`)
    const { next } = understood(ask, page, value => checkPage(value, after))
    // Checked just now: the leases of the page are an array of objects.
    documents.push(...(page as { readonly leases: readonly object[] }).leases)
    if (next === undefined) return documents
    after = next
  }
}

// A page that does not lead on would be asked for for ever.
function checkPage(value: unknown, after: number): { readonly next: number | undefined } {
  const { next } = parseLeasePage(value)
  if (next !== undefined && next <= after) throw new ParseError(`reply.next: ${next}: want more than ${after}`)
  return { next }
}

/** The query with its leading '?', or '' when every parameter is undefined. */
export function queryOf(parameters: LeaseParameters): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, value)
  return query.size === 0 ? '' : `?${query.toString()}`
}

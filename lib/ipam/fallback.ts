/**
 * A call that ipamd could have done and the executable did itself, ten times slower. What is left of it is a file in the spool
 * of ipamd: its name says the kind, its length how many.
 */
export interface Fallback {
  /** The CNI verb. */
  readonly verb: string
  /** Why, in lower case letters and hyphens. */
  readonly reason: string
}

/** As many of one kind as are counted between two looks of ipamd. */
export const MAX_FALLBACK_NOTE_BYTES = 1024 * 1024

const VERBS: ReadonlySet<string> = new Set(['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'])
const REASON = /^[a-z-]{1,32}$/
const NAME = /^fallback\.([A-Z]+)\.([a-z-]+)$/

/** What verb and reason say, or undefined when no launcher says so. */
export function parseFallback(verb: string | undefined, reason: string | undefined): Fallback | undefined {
  if (verb === undefined || reason === undefined || !VERBS.has(verb) || !REASON.test(reason)) return undefined
  return { verb, reason }
}

/** The name of the file that counts fallbacks of this kind. */
export function fallbackNoteName({ verb, reason }: Fallback): string {
  return `fallback.${verb}.${reason}`
}

/** The kind that a file of this name counts; undefined for any other file. */
export function parseFallbackNoteName(name: string): Fallback | undefined {
  const [, verb, reason] = NAME.exec(name) ?? []
  return parseFallback(verb, reason)
}

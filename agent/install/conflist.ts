import { isDeepStrictEqual } from 'node:util'
import { Fields } from '../../lib/ipam/fields.ts'
import { ParseError } from '../../lib/net/parse-error.ts'

/** What is to become of the file of the network configuration list. */
export type ConflistDecision =
  /** It says what ours says; others may have added to it. */
  { readonly kind: 'keep' } | { readonly kind: 'write'; readonly text: string }

type Plugin = Readonly<Record<string, unknown>>

interface List {
  readonly document: Readonly<Record<string, unknown>>
  readonly plugins: readonly Plugin[]
}

/**
 * What to do with the file, given ours and what is there (checklist R38).
 *
 * Others install themselves by adding plugins to the list behind ours, and would be thrown out by a plain copy: pods would start
 * without them. So their plugins stay, behind the plugin that they stood behind, and only what is ours is brought up to date.
 *
 * @param there undefined when there is no file.
 * @throws {ParseError} when `ours` is no list.
 */
export function decideConflist(ours: string, there: string | undefined): ConflistDecision {
  const wanted = parseList(ours, 'our conflist')
  const found = there === undefined ? undefined : tryParseList(there)
  // What is no list keeps every pod from starting: nobody needs it as it is.
  if (found === undefined) return there === ours ? { kind: 'keep' } : { kind: 'write', text: ours }
  const merged = { ...wanted.document, plugins: mergePlugins(wanted.plugins, found.plugins) }
  if (isDeepStrictEqual(merged, found.document)) return { kind: 'keep' }
  const isOursAlone = merged.plugins.length === wanted.plugins.length
  return { kind: 'write', text: isOursAlone ? ours : `${JSON.stringify(merged, null, 2)}\n` }
}

/** Ours in our order; each that is not ours behind the one of ours that it stood behind. */
function mergePlugins(wanted: readonly Plugin[], found: readonly Plugin[]): readonly Plugin[] {
  const ours = new Set(wanted.map(({ type }) => type))
  const behind = new Map<unknown, Plugin[]>()
  let last: unknown
  for (const plugin of found) {
    if (ours.has(plugin['type'])) last = plugin['type']
    else behind.set(last, [...(behind.get(last) ?? []), plugin])
  }
  const first = behind.get(undefined) ?? []
  const rest = wanted.flatMap(plugin => {
    const followers = behind.get(plugin['type']) ?? []
    behind.delete(plugin['type'])
    return [plugin, ...followers]
  })
  return [...first, ...rest]
}

function tryParseList(text: string): List | undefined {
  try {
    return parseList(text, 'conflist')
  } catch (failure) {
    if (failure instanceof ParseError) return undefined
    throw failure
  }
}

function parseList(text: string, what: string): List {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new ParseError(`${what}: not JSON: ${(cause as Error).message}`, { cause })
  }
  const fields = Fields.of(value, what)
  const plugins = fields.list('plugins', (item, path) => {
    const plugin = Fields.of(item, path)
    plugin.string('type')
    return plugin.value
  })
  return { document: fields.value, plugins }
}

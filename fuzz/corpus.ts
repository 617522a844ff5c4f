import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

const FOLDER = join(import.meta.dirname, 'corpus')

/** The cases that are kept: each was wrong once, or is a kind of wrong that random cases rarely are. */
export function readCorpus(kind: string): readonly { readonly name: string; readonly content: unknown }[] {
  const files = readdirSync(join(FOLDER, kind)).toSorted()
  return files.map(name => ({ name, content: JSON.parse(readFileSync(join(FOLDER, kind, name), 'utf8')) as unknown }))
}

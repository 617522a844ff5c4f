import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './paths.ts'

const SCHEMA = join(ROOT, 'ipamd', 'config.schema.json')
const PAGE = join(ROOT, 'docs', 'ipamd.md')
const BEGIN = '<!-- configuration reference: node scripts/config-reference.ts --write -->'
const END = '<!-- end of the configuration reference -->'

/** As much of JSON Schema as the configuration of ipamd uses. */
interface Schema {
  readonly type?: string
  readonly description?: string
  readonly $ref?: string
  readonly enum?: readonly unknown[]
  readonly minimum?: number
  readonly maximum?: number
  readonly required?: readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly definitions?: Readonly<Record<string, Schema>>
}

/** The table of every key of ipamd's configuration, from its schema. */
export function renderReference(): string {
  const schema = JSON.parse(readFileSync(SCHEMA, 'utf8')) as Schema
  const rows = rowsOf(schema, { path: '', root: schema })
  return ['| key | value | meaning |', '|---|---|---|', ...rows].join('\n')
}

/** The same table as docs/ipamd.md has it. @throws {Error} when the page has no place for it. */
export function publishedReference(): string {
  const { begin, end, text } = placeIn(readFileSync(PAGE, 'utf8'))
  return text.slice(begin, end).trim()
}

function rowsOf(schema: Schema, { path, root }: { readonly path: string; readonly root: Schema }): readonly string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, given]) => {
    // What stands beside a reference says more than what it leads to.
    const property = { ...resolve(given, root), ...given }
    const key = `${path}${name}`
    const list = property.items === undefined ? undefined : resolve(property.items, root)
    const need = schema.required?.includes(name) === true ? ' Required.' : ''
    // In a table a bar would end the cell.
    const meaning = `${property.description ?? ''}${need}`.trim().replaceAll('|', '\\|')
    return [
      `| \`${key}\` | ${valueOf(property, list)} | ${meaning} |`,
      ...rowsOf(list ?? resolve(property, root), { path: list === undefined ? `${key}.` : `${key}[].`, root }),
    ]
  })
}

function resolve(schema: Schema, root: Schema): Schema {
  if (schema.$ref === undefined) return schema
  const found = root.definitions?.[schema.$ref.replace('#/definitions/', '')]
  if (found === undefined) throw new Error(`${SCHEMA}: ${schema.$ref} leads nowhere`)
  return found
}

function valueOf({ type, enum: choices, minimum, maximum }: Schema, list: Schema | undefined): string {
  if (choices !== undefined) return choices.map(choice => `\`${JSON.stringify(choice)}\``).join(', ')
  if (list !== undefined) return `list of ${list.type ?? 'values'}`
  const range = minimum === undefined || maximum === undefined ? '' : `, ${minimum} to ${maximum}`
  return `${type ?? 'object'}${range}`
}

function placeIn(text: string): { readonly begin: number; readonly end: number; readonly text: string } {
  const begin = text.indexOf(BEGIN)
  const end = text.indexOf(END)
  if (begin < 0 || end < begin) throw new Error(`${PAGE}: want the lines ${BEGIN} and ${END}`)
  return { begin: begin + BEGIN.length, end, text }
}

if (import.meta.main && process.argv.includes('--write')) {
  const { begin, end, text } = placeIn(readFileSync(PAGE, 'utf8'))
  writeFileSync(PAGE, `${text.slice(0, begin)}\n\n${renderReference()}\n\n${text.slice(end)}`)
}

import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Ajv } from 'ajv'
import standalone from 'ajv/dist/standalone/index.js'
import { ROOT } from './paths.ts'

/** Each schema, and the name of the validator that is made of it. */
const SCHEMAS = [{ schema: 'ipamd/config.schema.json', validator: 'ipamd-config-validator' }] as const

const DECLARATION = `import type { ErrorObject } from 'ajv'

/** True when the document has the shape of the schema; else \`validate.errors\` says what is wrong. */
export const validate: { (document: unknown): boolean; errors?: ErrorObject[] | null }
`

/** Compiles each JSON schema into a module in generated/, so that no program compiles schemas when it runs. */
export async function compileSchemas(): Promise<void> {
  const folder = join(ROOT, 'generated')
  await mkdir(folder, { recursive: true })
  for (const { schema, validator } of SCHEMAS) {
    const text = await readFile(join(ROOT, schema), 'utf8')
    await writeFile(join(folder, `${validator}.js`), compile(JSON.parse(text) as object, schema))
    await writeFile(join(folder, `${validator}.d.ts`), DECLARATION)
  }
}

function compile(schema: object, path: string): string {
  const ajv = new Ajv({ code: { source: true, esm: true, lines: true }, strict: true, allErrors: false })
  const code = standalone.default(ajv, ajv.compile(schema))
  // ajv writes require() for a few keywords (minLength, uniqueItems) even into an ES module, where there is none.
  if (code.includes('require('))
    throw new Error(`${path} uses a keyword whose code ajv loads at run time: use another one`)
  return code
}

if (import.meta.main) await compileSchemas()

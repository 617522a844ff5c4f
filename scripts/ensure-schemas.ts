import { join } from 'node:path'
import { hashOfFiles, unlessDone } from './memory.ts'
import { ROOT } from './paths.ts'
import { ourFiles } from './source-files.ts'

/** What compile-schemas.ts leaves. */
const GENERATED = ['ipamd-config-validator.js', 'ipamd-config-validator.d.ts']

/** Compiles the JSON schemas into validators, unless they are those of the schemas as they are. */
export async function ensureSchemas(): Promise<void> {
  const key = await hashOfFiles(ourFiles('**/*.schema.json', 'scripts/compile-schemas.ts', 'package-lock.json'))
  const outputs = GENERATED.map(name => join(ROOT, 'generated', name))
  await unlessDone({ name: 'schemas', key, outputs }, async () => {
    // Loaded only here: ajv costs more than all the rest of a build that has nothing to do.
    const { compileSchemas } = await import('./compile-schemas.ts')
    await compileSchemas()
  })
}

import { join } from 'node:path'
import { hashOfFiles, unlessDone } from './memory.ts'
import { ROOT } from './paths.ts'
import { outputOf } from './run-command.ts'
import { ourFiles } from './source-files.ts'

/** Type checks everything, unless nothing changed since it was last found clean. @returns what is wrong; '' when nothing is. */
export async function typecheck(): Promise<string> {
  let complaints = ''
  const key = await hashOfFiles(ourFiles('**/*.ts', '**/*.json'))
  try {
    await unlessDone({ name: 'typecheck', key, outputs: [] }, async () => {
      const tsc = join(ROOT, 'node_modules', '.bin', 'tsc')
      const { exitCode, text } = await outputOf([process.execPath, tsc, '--project', ROOT], { timeoutMs: 300_000 })
      if (exitCode !== 0) throw new TypeErrors(text)
    })
  } catch (failure) {
    if (!(failure instanceof TypeErrors)) throw failure
    complaints = failure.message
  }
  return complaints
}

/** What tsc said. Thrown so that it is not remembered as done. */
class TypeErrors extends Error {}

if (import.meta.main) {
  const complaints = await typecheck()
  process.stderr.write(complaints)
  process.exitCode = complaints === '' ? 0 : 1
}

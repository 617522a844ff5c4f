import { join } from 'node:path'
import { ROOT } from './paths.ts'
import { outputOf } from './run-command.ts'
import { ensureSchemas } from './ensure-schemas.ts'
import { ourFiles } from './source-files.ts'
import { typecheck } from './typecheck.ts'

/** Lints and checks the format. @returns what is wrong, tool by tool; '' when nothing is. */
export async function lint(): Promise<string> {
  const code = ourFiles('**/*.{ts,mjs}').filter(file => !file.startsWith('generated/'))
  const complaints = await Promise.all([
    // Paths are given: by itself oxlint would follow .gitignore, which a source archive lacks.
    tool('oxlint', ['--type-aware', '--deny-warnings', '--report-unused-disable-directives', ...code]),
    tool('prettier', ['--check', '--log-level=warn', '.', 'conflist/**/*.conflist']),
  ])
  return complaints.join('')
}

async function tool(name: string, args: readonly string[]): Promise<string> {
  const executable = join(ROOT, 'node_modules', '.bin', name)
  const { exitCode, text } = await outputOf([process.execPath, executable, ...args], { timeoutMs: 300_000 })
  return exitCode === 0 ? '' : `${name}:\n${text}`
}

if (import.meta.main) {
  // The linter and the type check read what is generated.
  await ensureSchemas()
  const complaints = (await Promise.all([lint(), typecheck()])).join('')
  process.stderr.write(complaints === '' ? 'lint: clean (oxlint, prettier, tsc)\n' : complaints)
  process.exitCode = complaints === '' ? 0 : 1
}

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { cached } from '../e2e/parts/cache.ts'
import { runCommand } from '../e2e/parts/command.ts'

const COMPILE_MS = 60_000

/** The programs in native/, and how they are linked: what starts others is small and static, what resolves addresses cannot be. */
const FLAGS = { runner: ['-static'], 'round-trips': [], 'path-cost': [] } as const

/**
 * The path of one of the programs in native/, compiled once for each of its versions.
 *
 * @throws {CommandError} with the compiler's words.
 */
export async function nativeTool(name: keyof typeof FLAGS): Promise<string> {
  const source = join(import.meta.dirname, 'native', `${name}.c`)
  const flags = ['-O2', '-Wall', '-Wextra', ...FLAGS[name]]
  const hash = createHash('sha256')
    .update(await readFile(source))
    .update(flags.join(' '))
  const key = `${name}-${process.arch}-${hash.digest('hex').slice(0, 16)}`
  const folder = await cached({ kind: 'bench', key }, async temporary => {
    await runCommand(['gcc', ...flags, '-o', join(temporary, name), source], { timeoutMs: COMPILE_MS })
  })
  return join(folder, name)
}

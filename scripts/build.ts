import { join } from 'node:path'
import { buildAddon } from '../native/build.ts'
import { ensureLink } from './atomic.ts'
import { ensureSchemas } from './ensure-schemas.ts'
import { buildLauncher } from './launcher.ts'
import { BIN } from './paths.ts'
import { buildExecutable } from './sea/executable.ts'
import { copyLibraries } from './sea/libraries.ts'
import { typecheck } from './typecheck.ts'

/** The names under which the executable is known beside its own; bin/main.ts decides by them. */
const NAMES = ['tulle-ipam', 'ipamd', 'tulle-agent', 'tullectl'] as const

/**
 * Builds `dist/bin` and type checks everything. What did not change is not built again.
 *
 * @returns type errors; '' when there are none. The executables are made either way: Node runs them without their types.
 * @throws {Error} the first failure, after all parts have ended: none still writes when this is over.
 */
export async function buildAll(): Promise<string> {
  await ensureSchemas()
  const lib = join(BIN, 'lib')
  const parts = [
    typecheck(),
    copyLibraries(lib),
    buildAddon(join(lib, 'tulle.node')),
    buildLauncher(join(BIN, 'tulle')),
    buildExecutables(),
  ] as const
  await Promise.allSettled(parts)
  const [complaints] = await Promise.all(parts)
  return complaints
}

async function buildExecutables(): Promise<void> {
  await buildExecutable(join(BIN, 'tulle-node'))
  for (const name of NAMES) await ensureLink(join(BIN, name), 'tulle-node')
}

if (import.meta.main) {
  const startedAtMs = performance.now()
  const complaints = await buildAll()
  process.stderr.write(complaints)
  process.exitCode = complaints === '' ? 0 : 1
  const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1)
  process.stderr.write(`build: dist/bin ${complaints === '' ? 'is ready' : 'does not type check'} (${seconds} s)\n`)
}

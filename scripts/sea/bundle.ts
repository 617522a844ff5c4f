import { join } from 'node:path'
import { build } from 'esbuild'
import { ROOT } from '../paths.ts'
import { lazyBuiltins } from './lazy-builtins.ts'

/**
 * Everything that the executable runs, as the text of one CommonJS file.
 *
 * CommonJS, because a start-up snapshot is made of a script; it has neither top-level await nor import().
 *
 * @throws {Error} naming the import or the syntax that esbuild refused, and on each of its warnings.
 */
export async function bundle(): Promise<string> {
  const { outputFiles, warnings } = await build({
    entryPoints: [join(ROOT, 'bin', 'main.ts')],
    absWorkingDir: ROOT,
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    target: `node${process.versions.node}`,
    // V8 crashes when a snapshot has in it what a native `using` leaves behind, and the rehearsal runs some.
    supported: { using: false },
    // Not minified: it starts no faster (the snapshot holds compiled code), and a stack says where it was.
    legalComments: 'none',
    logLevel: 'silent',
    plugins: [lazyBuiltins],
  })
  if (warnings.length > 0) {
    throw new Error(
      warnings.map(({ text, location }) => `esbuild: ${location?.file}:${location?.line}: ${text}`).join('\n'),
    )
  }
  const [output] = outputFiles
  if (output === undefined) throw new Error('esbuild wrote nothing')
  return output.text
}

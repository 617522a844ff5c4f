import { existsSync } from 'node:fs'
import { copyFile, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFile } from '../atomic.ts'
import { hashOf } from '../memory.ts'
import { cacheFolder } from '../../e2e/parts/cache.ts'
import { nodePackage, ROOT } from '../paths.ts'
import { runQuietly } from '../run-command.ts'

/**
 * The Node that package-lock.json pins, without its symbol table (34 of 150 MB), made once for all clones.
 *
 * Strip must come before the executable is made: afterwards it would throw out what was put in.
 *
 * @returns its path, which changes with its content.
 */
export async function strippedNode(): Promise<string> {
  const node = join(nodePackage(), 'bin', 'node')
  const stripped = join(cacheFolder(), 'node', await identity(), 'node')
  if (existsSync(stripped)) return stripped
  await replaceFile(stripped, async temporary => {
    await copyFile(node, temporary)
    await runQuietly(['strip', temporary], { timeoutMs: 60_000 })
  })
  return stripped
}

/** What npm says it installed: hashing 150 MB on each build would say the same, slowly. */
async function identity(): Promise<string> {
  const path = `node_modules/node-linux-${process.arch}`
  const lockfile: Lockfile = JSON.parse(await readFile(join(ROOT, 'node_modules', '.package-lock.json'), 'utf8'))
  const entry = lockfile.packages[path]
  if (entry === undefined) throw new Error(`${path} is not installed: Tulle is built on linux-x64 and linux-arm64`)
  return `${entry.version}-${process.arch}-${hashOf([entry.integrity]).slice(0, 16)}`
}

/** The part of npm's lockfile that is read here; npm wrote it a moment ago. */
interface Lockfile {
  readonly packages: Readonly<Record<string, { readonly version: string; readonly integrity: string }>>
}

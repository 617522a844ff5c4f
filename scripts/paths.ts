import { homedir } from 'node:os'
import { dirname, join } from 'node:path'

/** The folder of the repository. */
export const ROOT = dirname(import.meta.dirname)

/** Where the executables go: a folder that can serve as a runtime's CNI bin dir. */
export const BIN = join(ROOT, 'dist', 'bin')

/** What the build remembers of this clone. Deleting it costs time, nothing else. */
export const BUILD_CACHE = join(ROOT, '.cache', 'build')

/** What clones share: big parts that do not depend on our source. Deleting it costs time, nothing else. */
export function userCache(): string {
  const base = process.env['XDG_CACHE_HOME']
  // The XDG specification says that a relative path is to be ignored.
  return join(base?.startsWith('/') ? base : join(homedir(), '.cache'), 'tulle')
}

/** The npm package that holds the Node that we pin, for this machine. */
export function nodePackage(): string {
  return join(ROOT, 'node_modules', `node-linux-${process.arch}`)
}

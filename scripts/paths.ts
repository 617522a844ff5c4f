import { dirname, join } from 'node:path'

/** The folder of the repository. */
export const ROOT = dirname(import.meta.dirname)

/** Where the executables go: a folder that can serve as a runtime's CNI bin dir. */
export const BIN = join(ROOT, 'dist', 'bin')

/** What the build remembers of this clone. Deleting it costs time, nothing else. */
export const BUILD_CACHE = join(ROOT, '.cache', 'build')

/** The npm package that holds the Node that we pin, for this machine. */
export function nodePackage(): string {
  return join(ROOT, 'node_modules', `node-linux-${process.arch}`)
}

import { globSync } from 'node:fs'
import { ROOT } from './paths.ts'

/** Folders that hold nothing of ours. */
const NOT_OURS = new Set(['node_modules', 'dist', '.tap', '.cache', '.git'])

/** Our files that match `patterns`, as sorted paths relative to the repository. */
export function ourFiles(...patterns: readonly string[]): readonly string[] {
  return globSync(patterns, { cwd: ROOT, exclude: path => NOT_OURS.has(path) }).toSorted()
}

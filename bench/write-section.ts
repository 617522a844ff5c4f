import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { replaceSection } from './report/section.ts'

/** Where the pages for people are. */
export const DOCS = join(import.meta.dirname, '..', 'docs')

/** Puts what `command` has measured into docs/performance.md. @throws {Error} when the page has no place for it. */
export function writeSection(command: string, text: string): void {
  const page = join(DOCS, 'performance.md')
  writeFileSync(page, replaceSection(readFileSync(page, 'utf8'), command, text))
}

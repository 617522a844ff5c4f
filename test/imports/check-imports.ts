import { isBuiltin } from 'node:module'
import { basename, posix } from 'node:path'
import { circlesIn } from './circles.ts'
import type { ImportRule } from './import-table.ts'
import { scanImports } from './scan-imports.ts'

export interface SourceFile {
  /** Relative to the repository, with slashes. */
  readonly path: string
  readonly text: string
}

/** Tests and what only they use. They may import anything, and nothing else may import them. */
const TEST = /^fuzz\/|\.(?:test|netns|cri|kind)\.ts$|(?:^|[/-])(?:arbitraries|contract)\.ts$|(?:^|\/)fake-[^/]+\.ts$/

/**
 * Holds every import against the table.
 *
 * A folder without a row, a row without a file and a circle of folders are problems too.
 *
 * @returns every problem, each with the file and what the table allows; empty when there is none.
 */
export function checkImports(files: readonly SourceFile[], table: readonly ImportRule[]): readonly string[] {
  const checked = files.filter(file => !TEST.test(file.path))
  const edges = checked.flatMap(file => edgesOf(file, table))
  const idle = table.filter(rule => !checked.some(file => ruleFor(file.path, table) === rule))
  return [
    ...checked.flatMap(file => problemsOf(file, table)),
    ...idle.map(rule => `${rule.folder}: has a row in the table and no file`),
    ...circlesIn(edges).map(circle => `circle of folders: ${circle.join(' → ')}`),
  ]
}

function problemsOf({ path, text }: SourceFile, table: readonly ImportRule[]): readonly string[] {
  const rule = ruleFor(path, table)
  if (rule === undefined) return [`${path}: no row in the table for its folder`]
  const { specifiers, usesProcess } = scanImports(text)
  const refused = specifiers.filter(specifier => !isAllowed(specifier, path, rule))
  const problems = refused.map(specifier => `${path}: ${rule.folder} may not import ${specifier}`)
  if (usesProcess && !mayUseProcess(path, rule)) problems.push(`${path}: may not use process (${rule.process})`)
  return problems
}

function isAllowed(specifier: string, path: string, rule: ImportRule): boolean {
  // Another column decides on it.
  if (specifier === 'node:process') return true
  if (isBuiltin(specifier)) return specifier.startsWith('node:') && rule.builtins === 'any'
  if (!specifier.startsWith('.')) return rule.packages.some(name => isAtOrBelow(specifier, name))
  const target = targetOf(specifier, path)
  return !TEST.test(target) && [rule.folder, ...rule.folders].some(folder => isAtOrBelow(target, folder))
}

function mayUseProcess(path: string, rule: ImportRule): boolean {
  return rule.process === 'anywhere' || (rule.process === 'main.ts' && basename(path) === 'main.ts')
}

/** From folder to folder, by the rows of the table: what the imports of one file add to the graph. */
function edgesOf({ path, text }: SourceFile, table: readonly ImportRule[]): readonly (readonly [string, string])[] {
  const from = ruleFor(path, table)?.folder
  const relative = scanImports(text).specifiers.filter(specifier => specifier.startsWith('.'))
  return relative.flatMap(specifier => {
    const to = ruleFor(targetOf(specifier, path), table)?.folder
    return from === undefined || to === undefined || from === to ? [] : [[from, to] as const]
  })
}

/** The row with the longest folder that holds `path`. */
function ruleFor(path: string, table: readonly ImportRule[]): ImportRule | undefined {
  const rules = table.filter(rule => isAtOrBelow(path, rule.folder))
  return rules.toSorted((a, b) => b.folder.length - a.folder.length)[0]
}

function targetOf(specifier: string, path: string): string {
  return posix.join(posix.dirname(path), specifier)
}

function isAtOrBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`)
}

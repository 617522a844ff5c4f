import type { Token } from './tokens.ts'
import { tokenize } from './tokens.ts'

/** What one file takes from elsewhere. */
export interface FileImports {
  /** What stands after `from`, in `import()` and in `require()`, in the order of the file. */
  readonly specifiers: readonly string[]
  /** True when the code names the global `process`, or imports it. */
  readonly usesProcess: boolean
}

/** Reads every import of a TypeScript file: static, of types, for effect, re-exported, dynamic and by require(). */
export function scanImports(source: string): FileImports {
  const tokens = tokenize(source)
  const specifiers = tokens.flatMap((_, index) => specifierAt(tokens, index) ?? [])
  const usesProcess =
    specifiers.includes('node:process') || tokens.some((token, index) => isGlobalProcess(tokens, token, index))
  return { specifiers, usesProcess }
}

/** The specifier of the import that begins with the token at `index`; undefined when none does. */
function specifierAt(tokens: readonly Token[], index: number): string | undefined {
  const first = tokens[index]
  if (first?.kind !== 'word' || isProperty(tokens, index)) return undefined
  const next = tokens[index + 1]
  if (first.text === 'require' || first.text === 'import') {
    if (next?.text === '(') return stringAt(tokens, index + 2)
    if (first.text === 'import') return stringAt(tokens, index + 1) ?? specifierAfterFrom(tokens, index + 1)
  }
  if (first.text === 'export' && next !== undefined && ['{', '*', 'type'].includes(next.text)) {
    return specifierAfterFrom(tokens, index + 1)
  }
  return undefined
}

/** Walks over the names of an import or export up to `from 'x'`; anything else than names ends the walk. */
function specifierAfterFrom(tokens: readonly Token[], start: number): string | undefined {
  for (let index = start; index < tokens.length; index += 1) {
    const token = tokens[index]
    if (token?.kind === 'word') {
      const specifier = token.text === 'from' ? stringAt(tokens, index + 1) : undefined
      if (specifier !== undefined) return specifier
    } else if (token === undefined || !['{', '}', ',', '*'].includes(token.text)) return undefined
  }
  return undefined
}

function stringAt(tokens: readonly Token[], index: number): string | undefined {
  const token = tokens[index]
  return token?.kind === 'string' ? token.text : undefined
}

function isGlobalProcess(tokens: readonly Token[], token: Token, index: number): boolean {
  if (token.kind !== 'word' || token.text !== 'process' || isProperty(tokens, index)) return false
  // A key of an object or the name of a parameter or member: `{ process: x }`.
  return tokens[index + 1]?.text !== ':'
}

/** True for `x` in `a.x` and `a?.x`. */
function isProperty(tokens: readonly Token[], index: number): boolean {
  return tokens[index - 1]?.text === '.' && tokens[index - 2]?.text !== '.'
}

/** A piece of TypeScript source. Comments, spaces and the text of templates are no tokens. */
export interface Token {
  readonly kind: 'word' | 'string' | 'other'
  /** The word, the text between the quotes of a string, or one character. */
  readonly text: string
}

const SPACE = /\s+/y
const COMMENT = /\/\/[^\n]*|\/\*[^]*?\*\//y
const WORD = /#?[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*/uy
const NUMBER = /\d[\d_.a-zA-Z]*/y
const STRING = /'(?:[^'\\\n]|\\[^])*'|"(?:[^"\\\n]|\\[^])*"/y
const REGEX = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y
const TEMPLATE_TEXT = /(?:[^`\\$]|\\[^]|\$(?!\{))*/y

/** Words after which a slash begins a regular expression, because no value can have ended there. */
const BEFORE_A_VALUE = new Set([
  'return',
  'typeof',
  'case',
  'in',
  'of',
  'else',
  'do',
  'throw',
  'await',
  'yield',
  'void',
  'delete',
  'new',
])

/**
 * Splits source into tokens: enough of the grammar to tell code from text, and no more.
 *
 * A slash after `)`, `]` or `}` is taken as a division, although a regular expression may follow there too; none of ours does.
 */
export function tokenize(source: string): readonly Token[] {
  const tokens: Token[] = []
  /** For each open brace, whether it is the `${` of a template: its end goes on with text. */
  const braces: boolean[] = []
  let at = 0

  while (at < source.length) {
    if (take(SPACE) !== undefined || take(COMMENT) !== undefined) continue
    const word = take(WORD)
    if (word !== undefined) tokens.push({ kind: 'word', text: word })
    else if (take(NUMBER) !== undefined) tokens.push({ kind: 'other', text: '0' })
    else if (isValueWanted() && take(REGEX) !== undefined) tokens.push({ kind: 'other', text: '0' })
    else takeStringOrCharacter()
  }
  return tokens

  function take(pattern: RegExp): string | undefined {
    pattern.lastIndex = at
    const text = pattern.exec(source)?.[0]
    at += text?.length ?? 0
    return text
  }

  function takeStringOrCharacter(): void {
    const string = take(STRING)
    if (string !== undefined) {
      tokens.push({ kind: 'string', text: string.slice(1, -1) })
      return
    }
    const character = source.charAt(at)
    at += 1
    if (character === '`') takeTemplateText()
    else if (character === '}' && braces.pop() === true) takeTemplateText()
    else {
      if (character === '{') braces.push(false)
      tokens.push({ kind: 'other', text: character })
    }
  }

  /** From inside a template to its end, or into its next `${`. */
  function takeTemplateText(): void {
    take(TEMPLATE_TEXT)
    const isEnd = source.charAt(at) === '`'
    at += isEnd ? 1 : 2
    if (!isEnd) braces.push(true)
    // A template is a value: what follows it is an operator. What follows `${` is a value.
    tokens.push({ kind: 'other', text: isEnd ? '0' : '(' })
  }

  function isValueWanted(): boolean {
    const last = tokens.at(-1)
    if (last === undefined) return true
    if (last.kind === 'word') return BEFORE_A_VALUE.has(last.text)
    return last.kind === 'other' && !['0', ')', ']', '}'].includes(last.text)
  }
}

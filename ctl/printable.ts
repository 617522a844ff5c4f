/**
 * The text with its control characters escaped.
 *
 * Names of pods come from whoever called the plugin: they must not move the cursor of the operator's terminal, add a line
 * to a table, or turn the text round (Cf has the bidirectional marks).
 */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, escaped)
}

function escaped(character: string): string {
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`
}

/**
 * Puts `text` into a page, in place of what the same command has put there before: between two comments that name it.
 *
 * @throws {Error} when the page has no place for it.
 */
export function replaceSection(page: string, command: string, text: string): string {
  const [begin, end] = [`<!-- measured: ${command} -->`, `<!-- end of what ${command} measured -->`]
  const [from, to] = [page.indexOf(begin), page.indexOf(end)]
  if (from === -1 || to < from) throw new Error(`the page has no place for ${command}: want ${begin} and ${end}`)
  return `${page.slice(0, from + begin.length)}\n\n${text.trim()}\n\n${page.slice(to)}`
}

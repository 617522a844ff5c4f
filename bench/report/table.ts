/** A table in Markdown. The first row is the heading. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const [heading = [], ...rest] = rows
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(heading), `|${heading.map(() => '---|').join('')}`, ...rest.map(line)].join('\n')
}

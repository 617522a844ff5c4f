import { printable } from './printable.ts'
import type { Format, Style } from './style.ts'

/** One cell: a text, and how it stands out. */
export type Cell = string | { readonly text: string; readonly format: Format }

const GAP = '  '

/**
 * Renders rows below a header, each column as wide as its widest cell, each line ended by a newline.
 *
 * No line ends in spaces: the last column is not padded. What is not printable is escaped.
 */
export function renderTable(
  header: readonly string[],
  { rows, style }: { readonly rows: readonly (readonly Cell[])[]; readonly style: Style },
): string {
  const lines = [header.map(text => ({ text, format: 'bold' as const })), ...rows]
  const widths = header.map((_, column) => Math.max(...lines.map(line => widthOf(line[column] ?? ''))))
  return lines.map(line => `${renderLine(line, { widths, style })}\n`).join('')
}

function renderLine(
  cells: readonly Cell[],
  { widths, style }: { readonly widths: readonly number[]; readonly style: Style },
): string {
  const last = cells.findLastIndex(cell => textOf(cell) !== '')
  const shown = cells.slice(0, last + 1).map((cell, column) => {
    const text = textOf(cell)
    // Padded after it is styled: the escape sequences of the style have no width.
    const padding = column === last ? '' : ' '.repeat((widths[column] ?? 0) - widthOf(cell))
    return `${typeof cell === 'string' ? text : style(cell.format, text)}${padding}`
  })
  return shown.join(GAP)
}

function textOf(cell: Cell): string {
  return printable(typeof cell === 'string' ? cell : cell.text)
}

function widthOf(cell: Cell): number {
  return Array.from(textOf(cell)).length
}

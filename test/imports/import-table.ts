/** One row of the import table: what the files of a folder may use. */
export interface ImportRule {
  readonly folder: string
  /** Our other folders, each with what is below it. */
  readonly folders: readonly string[]
  readonly packages: readonly string[]
  /** Built-in modules of Node. */
  readonly builtins: 'none' | 'any'
  /** Where the global `process` may be named. */
  readonly process: 'nowhere' | 'main.ts' | 'anywhere'
}

const HEADING = '## Import table'
const COLUMNS = ['folder', 'may import', 'packages', 'node:*', 'process'] as const

/**
 * Reads the import table out of ARCHITECTURE.md.
 *
 * @throws {Error} naming the row that does not follow the format: a table that is misread enforces nothing.
 */
export function parseImportTable(markdown: string): readonly ImportRule[] {
  const section = markdown.split(/^(?=## )/m).find(text => text.startsWith(`${HEADING}\n`))
  if (section === undefined) throw new Error(`no heading ${JSON.stringify(HEADING)}`)
  const [header, , ...rows] = section
    .split('\n')
    .filter(line => line.startsWith('|'))
    .map(cellsOf)
  if (header?.join() !== COLUMNS.join()) throw new Error(`columns are ${header?.join()}, want ${COLUMNS.join()}`)
  if (rows.length === 0) throw new Error('the import table has no rows')
  return rows.map(parseRow)
}

function cellsOf(line: string): readonly string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map(cell => cell.trim())
}

function parseRow(cells: readonly string[]): ImportRule {
  const [folder = '', folders = '', packages = '', builtins = '', process = ''] = cells
  if (cells.length !== COLUMNS.length)
    throw new Error(`row of ${folder}: ${cells.length} cells, want ${COLUMNS.length}`)
  if (builtins !== 'none' && builtins !== 'any')
    throw new Error(`row of ${folder}: node:* is ${builtins}, want none or any`)
  if (process !== 'nowhere' && process !== 'main.ts' && process !== 'anywhere') {
    throw new Error(`row of ${folder}: process is ${process}, want nowhere, main.ts or anywhere`)
  }
  return { folder: namesIn(folder)[0] ?? '', folders: namesIn(folders), packages: namesIn(packages), builtins, process }
}

/** The names in a cell: each between backquotes, separated by spaces or commas; a dash stands for none. */
function namesIn(cell: string): readonly string[] {
  if (!/^(?:—|`[^`]+`(?:,? `[^`]+`)*)$/.test(cell)) throw new Error(`cannot read the cell ${JSON.stringify(cell)}`)
  return [...cell.matchAll(/`([^`]+)`/g)].map(match => match[1] ?? '')
}

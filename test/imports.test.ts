import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../scripts/paths.ts'
import { ourFiles } from '../scripts/source-files.ts'
import { checkImports } from './imports/check-imports.ts'
import type { SourceFile } from './imports/check-imports.ts'
import { parseImportTable } from './imports/import-table.ts'
import { scanImports } from './imports/scan-imports.ts'

const OUR_CODE = ourFiles('**/*.ts').filter(path => !path.startsWith('generated/'))

/** Design section 6: who may import what. */
t.test('checkImports() finds nothing in this repository that the table in ARCHITECTURE.md does not allow', async t => {
  const table = parseImportTable(readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8'))
  const files = OUR_CODE.map(path => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }))
  t.ok(files.length > 50, 'the files are found')
  t.strictSame(checkImports(files, table), [])
})

t.test('every package that an executable imports is a dependency, not one for development', async t => {
  const table = parseImportTable(readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8'))
  const { dependencies } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { dependencies: object }
  const shipped = table.filter(rule => /^(?:lib|plugins|ipamd|ctl|bin|native)(?:\/|$)/.test(rule.folder))
  for (const rule of shipped) {
    for (const name of rule.packages) t.ok(Object.hasOwn(dependencies, name), `${rule.folder}: ${name}`)
  }
})

const TABLE = parseImportTable(`
## Something else

| a | b |
|---|---|

## Import table

| folder | may import | packages | node:* | process |
|---|---|---|---|---|
| \`lib/net\` | — | \`ipaddr.js\` | none | nowhere |
| \`lib/kernel\` | \`lib/net\`, \`native/addon.ts\` | \`netlink\` | any | nowhere |
| \`native\` | — | — | any | anywhere |
| \`ipamd\` | \`lib\` | — | any | main.ts |
| \`plugins\` | \`lib\` | — | any | main.ts |
`)

/** One file for each row, so that no row is idle. */
const FILES: Readonly<Record<string, string>> = {
  'lib/net/a.ts': '',
  'lib/kernel/a.ts': '',
  'native/addon.ts': '',
  'ipamd/main.ts': '',
  'plugins/main.ts': '',
}

const cases = [
  { name: 'allows what the table allows', path: 'lib/kernel/b.ts', text: "import '../../native/addon.ts'", want: [] },
  { name: 'allows a folder its own files', path: 'lib/net/b.ts', text: "export * from './a.ts'", want: [] },
  {
    name: 'refuses a folder that is not listed',
    path: 'lib/net/b.ts',
    text: "import type { A } from '../kernel/a.ts'",
    want: ['lib/net/b.ts: lib/net may not import ../kernel/a.ts'],
  },
  {
    name: 'refuses another file than the one listed',
    path: 'lib/kernel/b.ts',
    text: "import { build } from '../../native/build.ts'",
    want: ['lib/kernel/b.ts: lib/kernel may not import ../../native/build.ts'],
  },
  {
    name: 'refuses node:* in a pure folder',
    path: 'lib/net/b.ts',
    text: "const fs = await import('node:fs')",
    want: ['lib/net/b.ts: lib/net may not import node:fs'],
  },
  {
    name: 'refuses a built-in module without node:',
    path: 'lib/kernel/b.ts',
    text: "import { readFileSync } from 'fs'",
    want: ['lib/kernel/b.ts: lib/kernel may not import fs'],
  },
  {
    name: 'refuses a package that is not listed',
    path: 'ipamd/b.ts',
    text: "import { Netlink } from 'netlink/dist/structs.js'",
    want: ['ipamd/b.ts: ipamd may not import netlink/dist/structs.js'],
  },
  {
    name: 'refuses process outside of main.ts',
    path: 'ipamd/b.ts',
    text: 'export const home = process.env.HOME',
    want: ['ipamd/b.ts: may not use process (main.ts)'],
  },
  {
    name: 'refuses the import of process in a pure folder',
    path: 'lib/net/b.ts',
    text: "import { env } from 'node:process'",
    want: ['lib/net/b.ts: may not use process (nowhere)'],
  },
  {
    name: 'refuses programs that import each other',
    path: 'ipamd/b.ts',
    text: "import { main } from '../plugins/main.ts'",
    want: ['ipamd/b.ts: ipamd may not import ../plugins/main.ts'],
  },
  {
    name: 'names a folder without a row',
    path: 'agent/a.ts',
    text: '',
    want: ['agent/a.ts: no row in the table for its folder'],
  },
  {
    name: 'refuses tests in the code',
    path: 'lib/net/b.ts',
    text: "import { anyAddress } from './arbitraries.ts'",
    want: ['lib/net/b.ts: lib/net may not import ./arbitraries.ts'],
  },
  { name: 'lets tests import what they like', path: 'lib/net/a.test.ts', text: "import '../kernel/a.ts'", want: [] },
]
for (const { name, path, text, want } of cases) {
  t.test(`checkImports() ${name}`, async t => t.strictSame(checkImports(withFiles({ [path]: text }), TABLE), want))
}

t.test('checkImports() finds a circle of folders', async t => {
  const files = withFiles({
    'lib/kernel/b.ts': "import '../net/a.ts'",
    'lib/net/b.ts': "import '../kernel/a.ts'",
  })
  t.match(checkImports(files, TABLE), [
    'lib/net/b.ts: lib/net may not',
    'circle of folders: lib/kernel → lib/net → lib/kernel',
  ])
})

t.test('checkImports() names a row that no file stands for', async t => {
  const [first, ...rest] = withFiles({})
  t.equal(first?.path, 'lib/net/a.ts')
  t.strictSame(checkImports(rest, TABLE), ['lib/net: has a row in the table and no file'])
})

t.test('scanImports() reads every form of import, and no text that looks like one', async t => {
  const source = `
    import './effect.ts'
    import one, { two as three } from "./one.ts"
    import * as four from './four.ts' with { type: 'json' }
    import type { Five } from './five.ts'
    import {
      type Six, // from './comment.ts'
      seven,
    } from './six.ts'
    export { eight } from './eight.ts'
    export type { Nine } from './nine.ts'
    export * as ten from './ten.ts'
    export const eleven = import('./eleven.ts'), twelve = require('./twelve.cjs')
    type Thirteen = import('./thirteen.ts').Thirteen
    // import './in-comment.ts'
    /* import './in-block.ts' */
    const text = "import './in-string.ts'", quoted = 'it\\'s import "./escaped.ts"'
    const template = \`import './in-template.ts' \${await import('./fourteen.ts')} import './after.ts' \${\`\${{ a: 1 }}\`} from './x.ts'\`
    const regex = /import '.\\/in-regex.ts' [/'"] /u, divided = 4 / 2 / 1
    export { text }
    from('./call.ts')
    loader.import('./method.ts')
    console.log(import.meta.dirname)
    import last from './last.ts'
  `
  t.strictSame(scanImports(source).specifiers, [
    './effect.ts',
    './one.ts',
    './four.ts',
    './five.ts',
    './six.ts',
    './eight.ts',
    './nine.ts',
    './ten.ts',
    './eleven.ts',
    './twelve.cjs',
    './thirteen.ts',
    './fourteen.ts',
    './last.ts',
  ])
})

const uses = [
  { text: 'process.exitCode = 1', want: true },
  { text: "import process from 'node:process'", want: true },
  { text: 'const { env } = process', want: true },
  { text: 'const all = { ...process }', want: true },
  { text: 'child.process.kill()', want: false },
  { text: 'const options = { process: 1 }', want: false },
  { text: '// the process ends\nconst text = "process"', want: false },
]
for (const { text, want } of uses) {
  t.test(`scanImports() ${want ? 'sees' : 'does not see'} process in ${text}`, async t => {
    t.equal(scanImports(text).usesProcess, want)
  })
}

t.test('parseImportTable() refuses a table that it would misread', async t => {
  t.throws(() => parseImportTable('## Imports\n'), /no heading "## Import table"/)
  t.throws(
    () => parseImportTable('## Import table\n| folder |\n|---|\n| a |\n'),
    /columns are folder, want folder,may import/,
  )
  const header = '## Import table\n| folder | may import | packages | node:* | process |\n|---|---|---|---|---|\n'
  t.throws(() => parseImportTable(header), /no rows/)
  t.throws(() => parseImportTable(`${header}| lib | — | — | none | nowhere |`), /cannot read the cell "lib"/)
  t.throws(() => parseImportTable(`${header}| \`lib\` | — | — | some | nowhere |`), /node:\* is some, want none or any/)
  t.throws(() => parseImportTable(`${header}| \`lib\` | — | — | none | maybe |`), /process is maybe/)
  t.throws(() => parseImportTable(`${header}| \`lib\` | — | none | nowhere |`), /4 cells, want 5/)
})

function withFiles(files: Readonly<Record<string, string>>): readonly SourceFile[] {
  return Object.entries({ ...FILES, ...files }).map(([path, text]) => ({ path, text }))
}

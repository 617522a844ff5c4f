import fc from 'fast-check'
import { stripVTControlCharacters, styleText } from 'node:util'
import t from 'tap'
import { PLAIN, wantsColour } from './style.ts'
import { renderTable } from './table.ts'

const HEADER = ['NAME', 'COUNT', 'NOTE']

t.test('renderTable() aligns columns and leaves no spaces at the end of a line', async t => {
  const rows = [
    ['a', '10', ''],
    ['a longer name', { text: '9', format: 'red' as const }, 'x'],
  ]
  t.equal(
    renderTable(HEADER, { rows, style: PLAIN }),
    `\
NAME           COUNT  NOTE
a              10
a longer name  9      x
`,
  )
})

t.test('renderTable() aligns coloured cells as plain ones', async t => {
  const rows = [[{ text: 'a', format: 'red' as const }, { text: '10', format: 'green' as const }, 'x']]
  const coloured = renderTable(HEADER, {
    rows,
    style: (format, text) => styleText(format, text, { validateStream: false }),
  })
  t.match(coloured, '\u001B[31ma\u001B[39m')
  t.equal(stripVTControlCharacters(coloured), renderTable(HEADER, { rows, style: PLAIN }))
})

t.test(
  'renderTable() lets no text of a cell reach the terminal as a control sequence or a line of its own',
  async t => {
    t.match(renderTable(['NAME'], { rows: [['a\u001B[2J\nb\u202E']], style: PLAIN }), 'a\\u{1b}[2J\\u{a}b\\u{202e}')
    const text = fc.string({ unit: 'binary' })
    fc.assert(
      fc.property(fc.array(fc.tuple(text, text)), rows => {
        const lines = renderTable(['A', 'B'], { rows, style: PLAIN }).split('\n')
        return lines.length === rows.length + 2 && lines.every(line => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(line))
      }),
    )
  },
)

t.test('wantsColour() is true on a terminal only, and NO_COLOR turns it off', async t => {
  t.equal(wantsColour({ isTerminal: true, noColor: undefined }), true)
  t.equal(wantsColour({ isTerminal: true, noColor: '' }), true)
  t.equal(wantsColour({ isTerminal: true, noColor: '0' }), false)
  t.equal(wantsColour({ isTerminal: false, noColor: undefined }), false)
})

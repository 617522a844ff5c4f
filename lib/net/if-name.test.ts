import fc from 'fast-check'
import t from 'tap'

import { parseIfName } from './if-name.ts'
import { ParseError } from './parse-error.ts'

for (const text of ['eth0', 'net1', 'a', 'tulb2d9e1a0abcd', 'eth0.100', 'ééééééé', '-', '...']) {
  t.test(`parseIfName() accepts ${text} (E5)`, async t => t.equal(parseIfName(text), text))
}

const refused = [
  { name: 'no name', text: '', want: /at least one character/ },
  { name: '16 bytes', text: 'abcdefghijklmnop', want: /at most 15 bytes, not 16/ },
  { name: '8 characters of 16 bytes', text: 'éééééééé', want: /at most 15 bytes, not 16/ },
  { name: '"."', text: '.', want: /other than "\." and "\.\."/ },
  { name: '".."', text: '..', want: /other than "\." and "\.\."/ },
  { name: 'a slash', text: 'eth/0', want: /none of/ },
  { name: 'a colon', text: 'eth0:1', want: /none of/ },
  { name: 'a space', text: 'eth 0', want: /no white space/ },
  { name: 'a line end', text: 'eth0\n', want: /no white space/ },
  { name: 'a no-break space', text: 'eth\u00a00', want: /no white space/ },
  { name: 'NEL, which is white space to Go', text: 'eth\u0085', want: /no white space/ },
  { name: 'a letter with the byte a0, which is white space to the kernel', text: 'à', want: /no white space/ },
  { name: 'NUL', text: 'eth0\0', want: /none of/ },
  { name: 'a template for the kernel', text: 'eth%d', want: /none of/ },
  { name: '"all", a folder of /proc/sys/net', text: 'all', want: /no folder/ },
  { name: '"default", a folder of /proc/sys/net', text: 'default', want: /no folder/ },
  { name: 'half a surrogate pair', text: 'eth\ud800', want: /UTF-8/ },
] as const

for (const c of refused) {
  t.test(`parseIfName() refuses ${c.name} (E5)`, async t => {
    t.throws(() => parseIfName(c.text), { name: 'ParseError', message: c.want })
  })
}

t.test('parseIfName() accepts at most 15 bytes of whatever, and throws nothing but ParseError', async t => {
  fc.assert(
    fc.property(fc.oneof(fc.string({ unit: 'binary', maxLength: 20 }), fc.string({ maxLength: 20 })), text => {
      try {
        return Buffer.byteLength(parseIfName(text)) <= 15
      } catch (error) {
        return error instanceof ParseError
      }
    }),
  )
  t.pass()
})

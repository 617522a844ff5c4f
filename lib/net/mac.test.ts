import fc from 'fast-check'
import t from 'tap'

import { macFromBytes, macToBytes, parseMac } from './mac.ts'

t.test('parseMac() gives equal addresses equal text', async t => {
  t.equal(parseMac('02:AB:cd:0E:0f:10'), '02:ab:cd:0e:0f:10')
})

const refused = [
  { name: 'five bytes', text: '02:00:00:00:00' },
  { name: 'seven bytes', text: '02:00:00:00:00:00:00' },
  { name: 'dashes', text: '02-00-00-00-00-00' },
  { name: 'single digits', text: '2:0:0:0:0:0' },
  { name: 'other letters', text: '0g:00:00:00:00:00' },
  { name: 'a line end', text: '02:00:00:00:00:00\n' },
] as const

for (const c of refused) {
  t.test(`parseMac() refuses ${c.name}`, async t => {
    t.throws(() => parseMac(c.text), {
      name: 'ParseError',
      message: /^Cannot parse MAC address ".*want six pairs of digits/,
    })
  })
}

t.test('macFromBytes() undoes macToBytes(), and parseMac() reads what it writes', async t => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), bytes => {
      const mac = macFromBytes(bytes)
      return parseMac(mac) === mac && macFromBytes(macToBytes(mac)) === mac && macToBytes(mac).join() === bytes.join()
    }),
  )
  t.pass()
})

t.test('macFromBytes() refuses other lengths than 6', async t => {
  t.throws(() => macFromBytes(new Uint8Array(8)), { name: 'RangeError', message: /8 bytes: want 6/ })
})

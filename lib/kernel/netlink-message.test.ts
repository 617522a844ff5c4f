import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { decodeMessages, encodeMessages, verdictOf } from './netlink-message.ts'

const u16 = fc.nat(0xffff)
const outgoing = fc.record(
  { type: u16, flags: u16, seq: fc.nat(0xffff_ffff), payload: fc.uint8Array({ maxLength: 40 }) },
  { noNullPrototype: true },
)

t.test('decodeMessages() gives back what encodeMessages() was given', async () => {
  fc.assert(
    fc.property(fc.array(outgoing, { maxLength: 5 }), messages => {
      const decoded = decodeMessages(encodeMessages(messages))
      const seen = decoded.map(({ type, flags, seq, data }) => ({ type, flags, seq, payload: new Uint8Array(data) }))
      assert.deepEqual(seen, messages)
    }),
  )
})

t.test('encodeMessages() aligns messages to 4 bytes, without counting the padding', async t => {
  const message = { type: 16, flags: 1, seq: 7, payload: Uint8Array.of(0xaa) }
  const bytes = encodeMessages([message, message])
  t.equal(bytes.length, 40)
  t.equal(bytes.readUInt32LE(0), 17)
  t.equal(bytes.readUInt32LE(20), 17)
  t.equal(bytes.readUInt32LE(12), 0, 'the port is left to the kernel')
})

t.test('encodeMessages() takes nested payloads: a struct, then attributes', async t => {
  const payload = [
    Uint8Array.of(1, 2, 3, 4),
    [(out: { push(type: number, data: Uint8Array): void }) => out.push(5, Uint8Array.of(6))],
  ]
  const bytes = encodeMessages([{ type: 16, flags: 0, seq: 1, payload }])
  t.equal(bytes.subarray(16).toString('hex'), '010203040500050006000000')
})

t.test('decodeMessages() refuses a length that does not fit', async t => {
  const bytes = encodeMessages([{ type: 16, flags: 0, seq: 1, payload: [] }])
  t.throws(() => decodeMessages(bytes.subarray(0, 15)), /Invalid header length/)
  bytes.writeUInt32LE(17, 0)
  t.throws(() => decodeMessages(bytes), /Invalid header length/)
})

const CAPPED_WITH_TLVS = 0x300
const TLVS = 0x200
const MESSAGE_ATTRIBUTE = '0b000100' + Buffer.from('no way\0').toString('hex') + '00'
const EEXIST = 'efffffff'
const REQUEST_HEADER = '14000000100005000700000000000000'

const verdicts = [
  { name: 'an ACK', type: 2, flags: 0x100, hex: '00000000' + REQUEST_HEADER, want: { errno: 0 } },
  { name: 'an error without text', type: 2, flags: 0x100, hex: EEXIST + REQUEST_HEADER, want: { errno: -17 } },
  {
    name: 'an error with the text after the header of the request',
    type: 2,
    flags: CAPPED_WITH_TLVS,
    hex: EEXIST + REQUEST_HEADER + MESSAGE_ATTRIBUTE,
    want: { errno: -17, extAck: 'no way' },
  },
  {
    name: 'an error with the text after the whole request',
    type: 2,
    flags: TLVS,
    hex: EEXIST + REQUEST_HEADER + 'aabbccdd' + MESSAGE_ATTRIBUTE,
    want: { errno: -17, extAck: 'no way' },
  },
  {
    name: 'the text behind another attribute',
    type: 2,
    flags: CAPPED_WITH_TLVS,
    hex: EEXIST + REQUEST_HEADER + '0800020010000000' + MESSAGE_ATTRIBUTE,
    want: { errno: -17, extAck: 'no way' },
  },
  {
    name: 'the errno when its attributes are malformed',
    type: 2,
    flags: CAPPED_WITH_TLVS,
    hex: EEXIST + REQUEST_HEADER + 'ffff0100',
    want: { errno: -17 },
  },
  {
    name: 'the errno when the attribute has no length',
    type: 2,
    flags: CAPPED_WITH_TLVS,
    hex: EEXIST + REQUEST_HEADER + '00000100',
    want: { errno: -17 },
  },
  { name: 'the end of a dump', type: 3, flags: 2, hex: '00000000', want: { errno: 0 } },
  {
    name: 'a dump that failed, with text',
    type: 3,
    flags: TLVS,
    hex: EEXIST + MESSAGE_ATTRIBUTE,
    want: { errno: -17, extAck: 'no way' },
  },
] as const

for (const { name, type, flags, hex, want } of verdicts) {
  t.test(`verdictOf() reads ${name}`, async t => {
    const message = { type, flags, seq: 7, port: 1, data: Buffer.from(hex, 'hex') }
    t.strictSame(verdictOf(message), { extAck: undefined, ...want })
  })
}

t.test('verdictOf() is undefined for an object', async t => {
  t.equal(verdictOf({ type: 16, flags: 0, seq: 1, port: 1, data: Buffer.alloc(32) }), undefined)
})

t.test('verdictOf() never throws, whatever follows the errno', async () => {
  fc.assert(
    fc.property(fc.constantFrom(2, 3), u16, fc.uint8Array({ maxLength: 64 }), (type, flags, bytes) => {
      const verdict = verdictOf({ type, flags, seq: 1, port: 1, data: Buffer.from(bytes) })
      return verdict !== undefined && Number.isInteger(verdict.errno)
    }),
  )
})

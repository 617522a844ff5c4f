import t from 'tap'
import { decodeAddress, decodeLink, decodeRoutes } from './rtnetlink-decode.ts'

/** A reply with the fixed header and the attributes given in hexadecimal, as the kernel of a little-endian machine sends it. */
function reply(...parts: readonly string[]) {
  return { type: 0, flags: 0, payload: Buffer.from(parts.join('').replaceAll(' ', ''), 'hex') }
}

const IPV4_ROUTE = '02 10 00 00 fe 03 00 01 00000000'
const DST_10_9 = '0800 0100 0a090000'

t.test('decodeAddress() passes over families that we do not use, whose addresses have other lengths', async t => {
  const AF_MCTP = '2d'
  t.equal(decodeAddress(reply(`${AF_MCTP} 00 00 00 02000000`, '0500 0200 08 000000')), undefined)
})

t.test('decodeLink() refuses a link without a name', async t => {
  t.throws(() => decodeLink(reply('00 00 0100 02000000 00000000 00000000')), { message: 'RTM_NEWLINK without a name' })
})

t.test('decodeRoutes() refuses next hops whose length does not fit', async t => {
  const hop = (length: string) => reply(IPV4_ROUTE, DST_10_9, `0c00 0900 ${length} 00 00 07000000`)
  t.match(decodeRoutes(hop('0800'), 7), [{ to: { prefixLength: 16 } }])
  t.strictSame(decodeRoutes(hop('0800'), 8), [])
  t.throws(() => decodeRoutes(hop('0000'), 7), { message: 'next hop of 0 bytes in 8' })
  t.throws(() => decodeRoutes(hop('0c00'), 7), { message: 'next hop of 12 bytes in 8' })
})

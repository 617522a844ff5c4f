import fc from 'fast-check'
import t from 'tap'

import { formatAddress, parseAddress } from './address.ts'
import { arbitraryAddress, arbitraryAddressWithLength, arbitraryPrefix } from './arbitraries.ts'
import { ParseError } from './parse-error.ts'
import {
  containsAddress,
  containsPrefix,
  defaultPrefix,
  equalPrefixes,
  firstAddress,
  formatPrefix,
  hostPrefix,
  lastAddress,
  overlaps,
  parseAddressWithLength,
  parsePrefix,
  prefixOf,
  sizeOf,
} from './prefix.ts'
import type { Prefix } from './prefix.ts'

const refused = [
  { name: 'no length', text: '10.0.0.0', want: /want ADDRESS\/LENGTH/ },
  { name: 'an empty length', text: '10.0.0.0/', want: /want a prefix length of 0 to 32/ },
  { name: 'a length over 32 in IPv4', text: '10.0.0.0/33', want: /want a prefix length of 0 to 32/ },
  { name: 'a length over 128 in IPv6', text: 'fd00::/129', want: /want a prefix length of 0 to 128/ },
  { name: 'a length with a leading zero', text: '10.0.0.0/08', want: /want a prefix length/ },
  { name: 'a signed length', text: '10.0.0.0/+8', want: /want a prefix length/ },
  { name: 'a netmask', text: '10.0.0.0/255.0.0.0', want: /want a prefix length/ },
  { name: 'a second slash', text: '10.0.0.0/8/8', want: /want a prefix length/ },
  { name: 'a bad address', text: '10.0/8', want: /Cannot parse address "10\.0"/ },
  { name: 'host bits in IPv4', text: '10.0.0.1/8', want: /"10\.0\.0\.1\/8": host bits are set; want 10\.0\.0\.0\/8/ },
  { name: 'host bits in IPv6', text: 'fd00::1/64', want: /host bits are set; want fd00::\/64/ },
] as const

for (const c of refused) {
  t.test(`parsePrefix() refuses ${c.name}`, async t => {
    t.throws(() => parsePrefix(c.text), { name: 'ParseError', message: c.want })
  })
}

const contained = [
  { outer: '10.0.0.0/8', inner: '10.244.0.0/16', contains: true, overlaps: true },
  { outer: '10.244.0.0/16', inner: '10.0.0.0/8', contains: false, overlaps: true },
  { outer: '10.0.0.0/9', inner: '10.128.0.0/9', contains: false, overlaps: false },
  { outer: '0.0.0.0/0', inner: '::/0', contains: false, overlaps: false },
  { outer: '::/0', inner: 'fd00::1/128', contains: true, overlaps: true },
  { outer: '10.0.0.7/32', inner: '10.0.0.7/32', contains: true, overlaps: true },
] as const

for (const c of contained) {
  t.test(`containsPrefix() and overlaps() of ${c.outer} and ${c.inner}`, async t => {
    t.equal(containsPrefix(parsePrefix(c.outer), parsePrefix(c.inner)), c.contains)
    t.equal(overlaps(parsePrefix(c.outer), parsePrefix(c.inner)), c.overlaps)
  })
}

t.test('sizeOf(), firstAddress() and lastAddress() agree on a few prefixes', async t => {
  const rows = ['10.1.2.0/30', '10.1.2.3/32', '0.0.0.0/0', 'fd00::/64', '::/0'].map(parsePrefix).map(describe)
  t.same(rows, [
    '10.1.2.0/30: 4 from 10.1.2.0 to 10.1.2.3',
    '10.1.2.3/32: 1 from 10.1.2.3 to 10.1.2.3',
    '0.0.0.0/0: 4294967296 from 0.0.0.0 to 255.255.255.255',
    'fd00::/64: 18446744073709551616 from fd00:: to fd00::ffff:ffff:ffff:ffff',
    '::/0: 340282366920938463463374607431768211456 from :: to ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff',
  ])
})

t.test('hostPrefix() and defaultPrefix() are the ends of the scale', async t => {
  t.equal(formatPrefix(hostPrefix(parseAddress('10.1.2.3'))), '10.1.2.3/32')
  t.equal(formatPrefix(hostPrefix(parseAddress('fd00::3'))), 'fd00::3/128')
  t.equal(formatPrefix(defaultPrefix(4)), '0.0.0.0/0')
  t.equal(formatPrefix(defaultPrefix(6)), '::/0')
})

t.test('prefixOf() refuses a length that the family does not have', async t => {
  for (const length of [-1, 33, 1.5, Number.NaN]) {
    t.throws(() => prefixOf(parseAddress('10.0.0.1'), length), { name: 'RangeError', message: /IPv4: want 0 to 32/ })
  }
})

t.test('parsePrefix() reads back what formatPrefix() wrote', async t => {
  fc.assert(fc.property(arbitraryPrefix, prefix => equalPrefixes(parsePrefix(formatPrefix(prefix)), prefix)))
  t.pass()
})

t.test('parseAddressWithLength() keeps host bits, and reads back what formatPrefix() wrote', async t => {
  fc.assert(
    fc.property(arbitraryAddressWithLength, value => equalPrefixes(parseAddressWithLength(formatPrefix(value)), value)),
  )
  t.pass()
})

t.test('containsAddress() is being between the first and the last address', async t => {
  fc.assert(
    fc.property(arbitraryPrefix, arbitraryAddress, (prefix, address) => {
      const isBetween = firstAddress(prefix).value <= address.value && address.value <= lastAddress(prefix).value
      return containsAddress(prefix, address) === (prefix.address.family === address.family && isBetween)
    }),
  )
  t.pass()
})

t.test('prefixOf() holds its address, and every shorter prefix of it', async t => {
  fc.assert(
    fc.property(arbitraryAddressWithLength, fc.nat(), ({ address, prefixLength }, cut) => {
      const prefix = prefixOf(address, prefixLength)
      const shorter = prefixOf(address, cut % (prefixLength + 1))
      return containsAddress(prefix, address) && containsPrefix(shorter, prefix) && overlaps(prefix, shorter)
    }),
  )
  t.pass()
})

t.test('overlaps() is symmetric, and means that the ranges share an address', async t => {
  fc.assert(
    fc.property(arbitraryPrefix, arbitraryPrefix, (a, b) => {
      const share =
        a.address.family === b.address.family &&
        firstAddress(a).value <= lastAddress(b).value &&
        firstAddress(b).value <= lastAddress(a).value
      return overlaps(a, b) === share && overlaps(b, a) === share
    }),
  )
  t.pass()
})

t.test('containsPrefix() both ways means equal', async t => {
  fc.assert(
    fc.property(arbitraryPrefix, arbitraryPrefix, (a, b) => {
      return (containsPrefix(a, b) && containsPrefix(b, a)) === equalPrefixes(a, b)
    }),
  )
  t.pass()
})

t.test('parsePrefix() throws nothing but ParseError', async t => {
  const looksLikePrefix = fc.string({ unit: fc.constantFrom(...'0123456789abf:./ '.split('')), maxLength: 20 })
  fc.assert(fc.property(fc.oneof(fc.string(), looksLikePrefix), text => parsesOrRefuses(() => parsePrefix(text))))
  t.pass()
})

function describe(prefix: Prefix): string {
  const [first, last] = [firstAddress(prefix), lastAddress(prefix)].map(formatAddress)
  return `${formatPrefix(prefix)}: ${sizeOf(prefix)} from ${first} to ${last}`
}

function parsesOrRefuses(parse: () => unknown): boolean {
  try {
    parse()
    return true
  } catch (error) {
    return error instanceof ParseError
  }
}

import { isIPv4, isIPv6 } from 'node:net'
import fc from 'fast-check'
import t from 'tap'

import {
  addressAt,
  addressFromBytes,
  addressToBytes,
  compareAddresses,
  equalAddresses,
  formatAddress,
  parseAddress,
} from './address.ts'
import { arbitraryAddress } from './arbitraries.ts'
import { ParseError } from './parse-error.ts'

const accepted = [
  { name: 'a dotted quad', text: '10.244.1.7', family: 4, value: 0x0af40107n },
  { name: 'the lowest IPv4 address', text: '0.0.0.0', family: 4, value: 0n },
  { name: 'the highest IPv4 address', text: '255.255.255.255', family: 4, value: 0xffff_ffffn },
  { name: 'an IPv6 address', text: 'fd00:10:244::1', family: 6, value: (0xfd0000100244n << 80n) + 1n },
  { name: 'the unspecified IPv6 address', text: '::', family: 6, value: 0n },
  { name: 'upper case', text: 'FE80::A', family: 6, value: (0xfe80n << 112n) + 10n },
  { name: 'all eight groups', text: '1:2:3:4:5:6:7:8', family: 6, value: 0x00010002000300040005000600070008n },
  {
    name: 'a dotted tail that is not IPv4-mapped',
    text: '64:ff9b::192.0.2.1',
    family: 6,
    value: (0x64ff9bn << 96n) + 0xc0000201n,
  },
] as const

for (const c of accepted) {
  t.test(`parseAddress() accepts ${c.name}`, async t => {
    t.same(parseAddress(c.text), { family: c.family, value: c.value })
  })
}

const refused = [
  { name: 'nothing', text: '' },
  { name: 'two parts, as inet_aton accepts', text: '10.1' },
  { name: 'one number, as inet_aton accepts', text: '167772161' },
  { name: 'hexadecimal', text: '0x0a.0.0.1' },
  { name: 'octal', text: '010.0.0.1' },
  { name: 'a number over 255', text: '10.0.0.256' },
  { name: 'five parts', text: '10.0.0.1.1' },
  { name: 'white space before', text: ' 10.0.0.1' },
  { name: 'a line end', text: '10.0.0.1\n' },
  { name: 'a prefix length', text: '10.0.0.1/24' },
  { name: 'other digits than ASCII', text: '١٠.0.0.1' },
  { name: 'two "::"', text: '1::2::3' },
  { name: 'nine groups', text: '1:2:3:4:5:6:7:8:9' },
  { name: 'seven groups', text: '1:2:3:4:5:6:7' },
  { name: 'five digits in a group', text: '12345::' },
  { name: 'brackets', text: '[::1]' },
  { name: 'an octal dotted tail', text: '64:ff9b::010.0.0.1' },
  { name: 'a short dotted tail', text: '64:ff9b::10.1' },
  { name: 'a long text', text: '1'.repeat(100_000) },
] as const

for (const c of refused) {
  t.test(`parseAddress() refuses ${c.name}`, async t => {
    t.throws(() => parseAddress(c.text), {
      name: 'ParseError',
      message: /^Cannot parse address ".*want dotted quad or RFC 4291 text$/,
    })
  })
}

t.test('parseAddress() names the IPv4 address that an IPv4-mapped one stands for', async t => {
  t.throws(() => parseAddress('::ffff:10.1.2.3'), {
    name: 'ParseError',
    message: /it is IPv4-mapped; want 10\.1\.2\.3$/,
  })
  t.throws(() => parseAddress('::ffff:a01:203'), {
    name: 'ParseError',
    message: /it is IPv4-mapped; want 10\.1\.2\.3$/,
  })
})

t.test('parseAddress() says that a zone is not wanted', async t => {
  t.throws(() => parseAddress('fe80::1%eth0'), { name: 'ParseError', message: /want an address without a zone$/ })
})

t.test('parseAddress() cuts a long text in its message', async t => {
  t.throws(() => parseAddress('x'.repeat(5000)), { message: /… \(5000 characters\): want/ })
})

const formatted = [
  { name: 'lower case', bytes: [0xfe, 0x80, ...zeros(12), 0xab, 0xcd], want: 'fe80::abcd' },
  { name: 'the longest run of zeros as "::"', bytes: groups(1, 0, 0, 2, 0, 0, 0, 3), want: '1:0:0:2::3' },
  { name: 'the first of two equal runs as "::"', bytes: groups(1, 0, 0, 2, 3, 0, 0, 4), want: '1::2:3:0:0:4' },
  { name: 'a single zero group in full', bytes: groups(1, 0, 2, 3, 4, 5, 6, 7), want: '1:0:2:3:4:5:6:7' },
  {
    name: 'an IPv4-mapped address with a dotted tail',
    bytes: groups(0, 0, 0, 0, 0, 0xffff, 0x0a01, 0x0203),
    want: '::ffff:10.1.2.3',
  },
] as const

for (const c of formatted) {
  t.test(`formatAddress() writes ${c.name} (RFC 5952)`, async t => {
    t.equal(formatAddress(addressFromBytes(Uint8Array.from(c.bytes))), c.want)
  })
}

t.test('parseAddress() reads back what formatAddress() wrote', async t => {
  fc.assert(fc.property(arbitraryAddress, address => equalAddresses(parseAddress(formatAddress(address)), address)))
  t.pass()
})

t.test('addressFromBytes() undoes addressToBytes()', async t => {
  fc.assert(
    fc.property(arbitraryAddress, address => equalAddresses(addressFromBytes(addressToBytes(address)), address)),
  )
  t.pass()
})

t.test('parseAddress() accepts only what the platform accepts, and throws nothing but ParseError', async t => {
  const looksLikeAddress = fc.string({ unit: fc.constantFrom(...'0123456789abfF:.%x/ '.split('')), maxLength: 24 })
  fc.assert(
    fc.property(fc.oneof(fc.string(), looksLikeAddress, fc.ipV4(), fc.ipV4Extended(), fc.ipV6()), text => {
      try {
        return parseAddress(text).family === 4 ? isIPv4(text) : isIPv6(text)
      } catch (error) {
        if (!(error instanceof ParseError)) throw error
        return !isIPv4(text) && (!isIPv6(text) || text.includes('%') || /want \d+\.\d+\.\d+\.\d+$/.test(error.message))
      }
    }),
    { numRuns: 2000 },
  )
  t.pass()
})

t.test('compareAddresses() orders by family, then by value', async t => {
  const texts = ['::1', '10.0.0.2', '9.255.255.255', '::', '10.0.0.10', '200.0.0.1']
  const sorted = texts.map(parseAddress).toSorted(compareAddresses).map(formatAddress)
  t.same(sorted, ['9.255.255.255', '10.0.0.2', '10.0.0.10', '200.0.0.1', '::', '::1'])
  t.equal(compareAddresses(parseAddress('::1'), parseAddress('::1')), 0)
})

t.test('equalAddresses() tells families apart', async t => {
  t.equal(equalAddresses(parseAddress('0.0.0.1'), parseAddress('::1')), false)
})

t.test('addressAt() refuses what its family does not have', async t => {
  t.throws(() => addressAt(4, 1n << 32n), {
    name: 'RangeError',
    message: /IPv4 address of 4294967296: want 0 to 2\^32 - 1/,
  })
  t.throws(() => addressAt(6, 1n << 128n), { name: 'RangeError' })
  t.throws(() => addressAt(6, -1n), { name: 'RangeError' })
})

t.test('addressFromBytes() refuses other lengths than 4 and 16', async t => {
  t.throws(() => addressFromBytes(new Uint8Array(5)), { name: 'RangeError', message: /5 bytes: want 4 or 16/ })
})

function zeros(count: number): readonly number[] {
  return Array.from({ length: count }, () => 0)
}

function groups(...values: readonly number[]): readonly number[] {
  return values.flatMap(value => [value >> 8, value & 0xff])
}

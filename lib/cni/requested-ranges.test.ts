import fc from 'fast-check'
import t from 'tap'
import { formatAddressRange } from '../net/address-range.ts'
import { CniError } from './errors.ts'
import { requestedRanges } from './requested-ranges.ts'
import type { JsonValue } from './json.ts'

function read(ipRanges: JsonValue): string {
  return requestedRanges({ runtimeConfig: { ipRanges } }).map(formatAddressRange).join(' ')
}

const cases: readonly { readonly name: string; readonly ranges: JsonValue; readonly want: string }[] = [
  { name: 'nothing', ranges: null, want: '' },
  { name: 'nothing from an empty list', ranges: [], want: '' },
  { name: 'nothing from templates that were filled with nothing', ranges: [[{ subnet: '' }], []], want: '' },
  { name: 'a subnet as a whole', ranges: [[{ subnet: '10.0.0.0/24' }]], want: '10.0.0.0-10.0.0.255' },
  {
    name: 'part of a subnet',
    ranges: [[{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.9', rangeEnd: '10.0.0.12' }]],
    want: '10.0.0.9-10.0.0.12',
  },
  {
    name: 'one end, and a gateway that asks for nothing',
    ranges: [[{ subnet: '10.0.0.0/24', rangeStart: '10.0.0.255', gateway: '' }]],
    want: '10.0.0.255',
  },
  {
    name: 'several ranges for one address, and one for each family',
    ranges: [[{ subnet: 'fd00::/127' }], [{ subnet: '10.0.0.0/31' }, { subnet: '10.0.1.0/31', other: 5 }]],
    want: 'fd00::-fd00::1 10.0.0.0-10.0.0.1 10.0.1.0-10.0.1.1',
  },
]
for (const { name, ranges, want } of cases) {
  t.test(`requestedRanges() reads ${name}`, async t => t.equal(read(ranges), want))
}

const SUBNET = '10.0.0.0/24'
const refused: readonly {
  readonly name: string
  readonly ranges: JsonValue
  readonly code?: number
  readonly msg: RegExp
}[] = [
  {
    name: 'no list',
    ranges: { subnet: SUBNET },
    msg: /^Cannot use runtimeConfig\.ipRanges \{.*: want a list of lists/,
  },
  { name: 'a list of ranges', ranges: [{ subnet: SUBNET }], msg: /ipRanges\[0\] \{"subnet":"10.*: want a list$/ },
  { name: 'an empty list among others', ranges: [[{ subnet: SUBNET }], []], msg: /ipRanges\[1\] \[\]: want at least/ },
  { name: 'a text for a range', ranges: [[SUBNET]], msg: /ipRanges\[0\]\[0\] "10\.0\.0\.0\/24": want an object/ },
  { name: 'no subnet', ranges: [[{ rangeStart: '10.0.0.1' }]], msg: /ipRanges\[0\]\[0\]\.subnet is missing/ },
  { name: 'host bits', ranges: [[{ subnet: '10.0.0.1/24' }]], msg: /ipRanges\[0\]\[0\]\.subnet: .*10\.0\.0\.0\/24/ },
  {
    name: 'a start outside the subnet',
    ranges: [[{ subnet: SUBNET, rangeStart: '10.0.1.0' }]],
    msg: /\[0\]\.rangeStart "10\.0\.1\.0": want an address of 10\.0\.0\.0\/24$/,
  },
  {
    name: 'an end of another family',
    ranges: [[{ subnet: SUBNET, rangeEnd: 'fd00::' }]],
    msg: /\[0\]\.rangeEnd "fd00::": want an address of 10\.0\.0\.0\/24$/,
  },
  {
    name: 'ends the wrong way round',
    ranges: [[{ subnet: SUBNET, rangeStart: '10.0.0.9', rangeEnd: '10.0.0.8' }]],
    msg: /ipRanges\[0\]\[0\] \{.*: want a rangeStart that is not behind rangeEnd$/,
  },
  {
    name: 'two families for one address',
    ranges: [[{ subnet: SUBNET }, { subnet: 'fd00::/64' }]],
    msg: /ipRanges\[0\] \[.*: want ranges of one family$/,
  },
  {
    name: 'two addresses of one family',
    ranges: [[{ subnet: SUBNET }], [{ subnet: '10.0.1.0/24' }]],
    msg: /ipRanges \[.*: want at most one list for each family/,
  },
  {
    name: 'too many ranges',
    ranges: [Array.from({ length: 65 }, () => ({ subnet: SUBNET }))],
    msg: /of 65 ranges: want at most 64$/,
  },
  {
    name: 'a gateway',
    ranges: [[{ subnet: SUBNET, gateway: '10.0.0.1' }]],
    code: 2,
    msg: /ipRanges\[0\]\[0\]\.gateway "10\.0\.0\.1" is not supported: leave it out$/,
  },
]
for (const { name, ranges, code = 7, msg } of refused) {
  t.test(`requestedRanges() refuses ${name} with code ${code} (${code === 2 ? 'C6' : 'C7'})`, async t => {
    t.throws(() => read(ranges), { name: 'CniError', code, message: msg })
  })
}

t.test('requestedRanges() throws nothing but CniError, and gives no range the wrong way round', async t => {
  const address = fc.constantFrom('10.0.0.1', '10.0.0.9', 'fd00::1', '', 'x')
  const range = fc.record(
    {
      subnet: fc.constantFrom('10.0.0.0/24', 'fd00::/64', '10.0.0.1/24', ''),
      rangeStart: address,
      rangeEnd: address,
      gateway: fc.constantFrom('', '10.0.0.1'),
    },
    { requiredKeys: [] },
  )
  const ranges = fc.oneof(fc.jsonValue(), fc.array(fc.array(fc.oneof(range, fc.jsonValue()), { maxLength: 3 })))
  fc.assert(
    fc.property(ranges, each => {
      try {
        return requestedRanges({ runtimeConfig: { ipRanges: each as JsonValue } }).every(
          ({ first, last }) => first.family === last.family && first.value <= last.value,
        )
      } catch (failure) {
        return failure instanceof CniError && (failure.code === 7 || failure.code === 2)
      }
    }),
  )
  t.pass()
})

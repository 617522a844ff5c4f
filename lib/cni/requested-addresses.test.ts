import fc from 'fast-check'
import t from 'tap'
import { formatAddress } from '../net/address.ts'
import { arbitraryAddressOf } from '../net/arbitraries.ts'
import { CniError } from './errors.ts'
import { requestedAddresses } from './requested-addresses.ts'
import type { JsonObject, JsonValue } from './json.ts'

interface Asking {
  readonly ips?: JsonValue
  readonly annotation?: string
  readonly args?: JsonObject
  readonly ip?: string
}

function read({ ips, annotation, args = {}, ip }: Asking): string {
  const runtimeConfig: JsonObject = ips === undefined ? {} : { ips }
  const addresses = requestedAddresses({
    network: { runtimeConfig, args },
    annotations: { addresses: annotation },
    args: ip === undefined ? {} : { ip },
  })
  return addresses.map(formatAddress).join(' ')
}

const [A, B, C, D] = ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4']
const ARGS: JsonObject = { cni: { ips: [C] } }

const cases: readonly (Asking & { readonly name: string; readonly want: string })[] = [
  { name: 'nothing', want: '' },
  { name: 'the capability', ips: [A], want: A },
  { name: 'the annotation', annotation: B, want: B },
  { name: 'args.cni.ips', args: ARGS, want: C },
  { name: 'CNI_ARGS', ip: D, want: D },
  { name: 'the capability before all others (E8)', ips: [A], annotation: B, args: ARGS, ip: D, want: A },
  { name: 'the annotation before args and CNI_ARGS (E8)', annotation: B, args: ARGS, ip: D, want: B },
  { name: 'args.cni.ips before CNI_ARGS (E8)', args: ARGS, ip: D, want: C },
  {
    name: 'only the first, though it names one family and the next the other (E8)',
    ips: [A],
    annotation: 'fd00::1',
    ip: 'fd00::2',
    want: A,
  },
  {
    name: 'the first, though what is behind it could not be read (E8)',
    ips: [A],
    annotation: 'x',
    args: { cni: 5 },
    ip: 'x',
    want: A,
  },
  { name: 'the next, where the capability is empty', ips: [], ip: D, want: D },
  { name: 'the next, where the capability is a template that was filled with nothing', ips: [''], ip: D, want: D },
  { name: 'the next, where the capability is null (C10)', ips: null, args: ARGS, want: C },
  {
    name: 'labels beside them, and does not look at those',
    args: { cni: { ips: [C], labels: [{ key: 5 }] } },
    want: C,
  },
  { name: 'both families', ips: ['fd00::7', A], want: `fd00::7 ${A}` },
  { name: 'prefix lengths, which it drops', ips: ['10.0.0.1/24', 'fd00::7/64'], want: `${A} fd00::7` },
  { name: 'a list in the annotation', annotation: '10.0.0.1, fd00::7/64', want: `${A} fd00::7` },
  { name: 'a list in CNI_ARGS', ip: '10.0.0.1/16,fd00::7', want: `${A} fd00::7` },
]
for (const { name, want, ...asking } of cases) {
  t.test(`requestedAddresses() takes ${name}`, async t => t.equal(read(asking), want))
}

const refused: readonly (Asking & { readonly name: string; readonly msg: RegExp | string })[] = [
  { name: 'a text', ips: A, msg: 'Cannot use runtimeConfig.ips "10.0.0.1": want a list' },
  { name: 'a number', ips: [A, 5], msg: 'Cannot use runtimeConfig.ips[1] 5: want a string' },
  { name: 'no address', ips: [A, 'fd00::g'], msg: /^runtimeConfig\.ips\[1\]: Cannot parse address "fd00::g"/ },
  {
    name: 'an octal address',
    args: { cni: { ips: ['010.0.0.1'] } },
    msg: /^args\.cni\.ips\[0\]: Cannot parse address/,
  },
  { name: 'a length that is none', ips: ['10.0.0.1/33'], msg: /^runtimeConfig\.ips\[0\]: .*10\.0\.0\.1\/33/ },
  {
    name: 'two of a family',
    ips: [A, 'fd00::1', B],
    msg: 'Cannot use runtimeConfig.ips "10.0.0.1, fd00::1, 10.0.0.2": want at most one address of each family',
  },
  {
    name: 'an address twice',
    annotation: '10.0.0.1,10.0.0.1',
    msg: /^Cannot use pod annotation tulle\.dev\/addresses "10.*at most one/,
  },
  {
    name: 'a list that ends with a comma',
    annotation: '10.0.0.1,',
    msg: /^pod annotation .*: Cannot parse address ""/,
  },
  { name: 'spaces in place of commas', ip: '10.0.0.1 fd00::1', msg: /^IP in CNI_ARGS: Cannot parse address/ },
  { name: 'args.cni that is a list', args: { cni: [] }, msg: 'Cannot use args.cni []: want an object' },
]
for (const { name, msg, ...asking } of refused) {
  t.test(`requestedAddresses() refuses ${name} with code 7 (C7)`, async t => {
    t.throws(() => read(asking), { name: 'CniError', code: 7, message: msg })
  })
}

t.test('requestedAddresses() reads the same from each of the four ways, whatever the order', async t => {
  const both = fc.tuple(arbitraryAddressOf(4), arbitraryAddressOf(6)).filter(([, six]) => six.value >> 32n !== 0xffffn)
  fc.assert(
    fc.property(both, fc.boolean(), (addresses, isReversed) => {
      const texts = (isReversed ? addresses.toReversed() : addresses).map(formatAddress)
      const list = texts.join(',')
      const ways: readonly Asking[] = [
        { ips: texts },
        { annotation: list },
        { args: { cni: { ips: texts } } },
        { ip: list },
      ]
      return ways.every(way => read(way) === texts.join(' '))
    }),
  )
  t.pass()
})

t.test(
  'requestedAddresses() throws nothing but CniError with code 7, and gives at most one of each family',
  async t => {
    const asking = fc.record(
      {
        ips: fc.jsonValue(),
        annotation: fc.string(),
        args: fc.dictionary(fc.constant('cni'), fc.jsonValue()),
        ip: fc.string(),
      },
      { requiredKeys: [] },
    )
    fc.assert(
      fc.property(asking, each => {
        try {
          return read(each as Asking).split(' ').length <= 2
        } catch (failure) {
          return failure instanceof CniError && failure.code === 7
        }
      }),
    )
    t.pass()
  },
)

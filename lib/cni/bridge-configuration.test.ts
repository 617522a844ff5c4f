import t from 'tap'
import { formatAddress } from '../net/address.ts'
import { formatPrefix } from '../net/prefix.ts'
import { parseNetworkConfiguration } from './configuration.ts'
import { parseTulleConfiguration, type TulleConfiguration } from './tulle-configuration.ts'

function parse(changes: object, options: { readonly lenient?: boolean } = {}): TulleConfiguration {
  const object = { cniVersion: '1.0.0', name: 'pods', type: 'tulle', ipam: { type: 'tulle-ipam' }, ...changes }
  return parseTulleConfiguration(parseNetworkConfiguration(JSON.stringify(object)), options)
}

const NOTHING = {
  bridge: 'cni0',
  isGateway: false,
  isDefaultGateway: false,
  forceAddress: false,
  hairpinMode: false,
  promiscMode: false,
  macSpoofCheck: false,
  portIsolation: false,
  routes: [],
}

t.test('parseBridgeConfiguration() has the defaults of the reference plugin', async t => {
  t.strictSame(parse({ mode: 'bridge' }).bridge, NOTHING)
  t.strictSame(parse({ mode: 'bridge', bridge: '', vlan: 0, vlanTrunk: [], preserveDefaultVlan: true }).bridge, NOTHING)
})

t.test('parseBridgeConfiguration() takes isDefaultGateway for isGateway too', async t => {
  t.match(parse({ mode: 'bridge', isDefaultGateway: true }).bridge, { isGateway: true, isDefaultGateway: true })
})

t.test('parseBridgeConfiguration() reads ipam.routes, with and without a next hop', async t => {
  const routes = [{ dst: '0.0.0.0/0' }, { dst: 'fd00::/8', gw: 'fd01::1' }]
  const { bridge } = parse({ mode: 'bridge', ipam: { type: 'tulle-ipam', routes } })
  t.strictSame(
    bridge?.routes.map(({ dst, gw }) => [formatPrefix(dst), gw && formatAddress(gw)]),
    [
      ['0.0.0.0/0', undefined],
      ['fd00::/8', 'fd01::1'],
    ],
  )
})

t.test('parseTulleConfiguration() takes a conflist of the reference bridge by its type alone', async t => {
  t.match(parse({ bridge: 'br0', isGateway: true }), { mode: 'bridge', bridge: { bridge: 'br0', isGateway: true } })
  t.match(parse({ hairpinMode: false }), { mode: 'bridge' })
  t.strictSame(parse({ mode: 'transparent', bridge: 'br0' }).bridge, undefined, 'a mode that is named holds')
  t.strictSame(parse({ bridge: null }).mode, 'transparent', 'null counts as missing (C10)')
})

const REFUSED = [
  { name: 'a VLAN', changes: { vlan: 10 }, code: 2, want: /^vlan 10 is not supported by this version/ },
  { name: 'a VLAN trunk', changes: { vlanTrunk: [{ id: 5 }] }, code: 2, want: /^vlanTrunk \[.*is not supported/ },
  { name: 'duplicate address detection', changes: { enabledad: true }, code: 2, want: /^enabledad true/ },
  { name: 'no interface', changes: { disableContainerInterface: true }, code: 2, want: /^disableContainerInterface/ },
  { name: 'two ways at once', changes: { hairpinMode: true, promiscMode: true }, code: 7, want: /promiscMode true/ },
  { name: 'a name of a veth', changes: { bridge: 'tul0' }, code: 7, want: /^Cannot use bridge "tul0": want a name/ },
  { name: 'a name too long', changes: { bridge: 'x'.repeat(16) }, code: 7, want: /^bridge: Cannot use interface name/ },
  { name: 'a name with a slash', changes: { bridge: '../x' }, code: 7, want: /^bridge: Cannot use interface name/ },
  { name: 'words for a truth value', changes: { isGateway: 'true' }, code: 7, want: /^Cannot use isGateway "true"/ },
  {
    name: 'addresses of the host without an address of the host',
    changes: { ipsToRouteViaHost: ['169.254.20.10'] },
    code: 7,
    want: /^Cannot use ipsToRouteViaHost .*want none without isGateway/,
  },
  {
    name: 'a route with attributes',
    changes: { ipam: { type: 'tulle-ipam', routes: [{ dst: '0.0.0.0/0', mtu: 1400 }] } },
    code: 7,
    want: /^Cannot use ipam\.routes: want dst, and perhaps gw, alone$/,
  },
] as const

for (const { name, changes, code, want } of REFUSED) {
  t.test(`parseBridgeConfiguration() refuses ${name} with code ${code} (${code === 2 ? 'C6' : 'C7'})`, async t => {
    t.throws(() => parse({ mode: 'bridge', ...changes }), { name: 'CniError', code, message: want })
    t.doesNotThrow(() => parse({ mode: 'bridge', ...changes }, { lenient: true }), 'DEL refuses nothing (D6)')
  })
}

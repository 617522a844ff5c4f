import fc from 'fast-check'
import t from 'tap'

import { formatAddress } from '../net/address.ts'
import { formatPrefix } from '../net/prefix.ts'
import { parseNetworkConfiguration } from './configuration.ts'
import { CniError } from './errors.ts'
import { parseTulleConfiguration, resolverSettings } from './tulle-configuration.ts'
import type { NetworkConfiguration } from './configuration.ts'

const BASE = { cniVersion: '0.3.0', name: 'azure', type: 'tulle', ipam: { type: 'tulle-ipam' } } as const
const DELEGATED = { ...BASE, ipam: { type: 'host-local' } } as const

t.test('parseTulleConfiguration() reads the AKS configuration of DESIGN.md, section 3', async t => {
  const config = parseTulleConfiguration(net({ mode: 'transparent', ipsToRouteViaHost: ['169.254.20.10', 'fd00::a'] }))
  t.same(config.ipsToRouteViaHost.map(formatAddress), ['169.254.20.10', 'fd00::a'])
  t.match(config, { mode: 'transparent', ipam: { kind: 'tulle', socketPath: '/run/tulle/ipamd.sock' } })
})

t.test('parseTulleConfiguration() has defaults for everything but ipam', async t => {
  const want = {
    mode: 'transparent',
    ipsToRouteViaHost: [],
    ipam: { kind: 'tulle', socketPath: '/run/tulle/ipamd.sock' },
    snat: true,
  }
  t.strictSame(parseTulleConfiguration(net({})), want)
  t.strictSame(parseTulleConfiguration(net({ mode: null, mtu: null, ipMasq: null, ipsToRouteViaHost: null })), want)
})

t.test('parseTulleConfiguration() reads MTU, socket and pool', async t => {
  const config = parseTulleConfiguration(
    net({ mtu: 1450, ipMasq: false, ipam: { ...BASE.ipam, socket: '/run/x.sock', pool: 'blue' } }),
  )
  t.match(config, { mtuBytes: 1450, ipam: { kind: 'tulle', socketPath: '/run/x.sock', pool: 'blue' } })
})

t.test(
  'parseTulleConfiguration() excepts from masquerade what it is told, and what the node itself answers',
  async t => {
    const read = (changes: object) => parseTulleConfiguration(net(changes)).masquerade?.except.map(formatPrefix)
    t.equal(read({ nonMasqueradeCIDRs: ['10.0.0.0/8'] }), undefined, 'nothing is masqueraded')
    t.same(read({ ipMasq: true }), [])
    t.same(
      read({
        ipMasq: true,
        nonMasqueradeCIDRs: ['10.0.0.0/8', 'fd00::/8'],
        ipsToRouteViaHost: ['169.254.20.10', 'fd00::a'],
      }),
      ['10.0.0.0/8', 'fd00::/8', '169.254.20.10/32', 'fd00::a/128'],
    )
  },
)

t.test('parseTulleConfiguration() leaves the section of another IPAM plugin to that plugin', async t => {
  const config = parseTulleConfiguration(net({ ipam: { type: 'host-local', socket: 5, pool: 6 } }))
  t.strictSame(config.ipam, { kind: 'delegated', type: 'host-local' })
})

const refused = [
  { name: 'a mode of others', changes: { mode: 'ipvlan' }, code: 2, want: /^mode "ipvlan" is not supported/ },
  {
    name: "iptables' conditions for hostPorts",
    changes: { conditionsV4: ['-d', '192.0.2.0/24'] },
    code: 2,
    want: /^conditionsV4 \["-d","192\.0\.2\.0\/24"\] is not supported/,
  },
  { name: 'the same for IPv6', changes: { conditionsV6: ['!'] }, code: 2, want: /^conditionsV6 .* is not supported/ },
  { name: 'a bit of the mark', changes: { markMasqBit: 13 }, code: 2, want: /^markMasqBit 13 is not supported/ },
  {
    name: "somebody's chain",
    changes: { externalSetMarkChain: 'KUBE-MARK-MASQ' },
    code: 2,
    want: /^externalSetMarkChain "KUBE-MARK-MASQ" is not supported/,
  },
  { name: 'masquerading what is let in', changes: { masqAll: true }, code: 2, want: /^masqAll true is not supported/ },
  { name: 'snat in words', changes: { snat: 'no' }, code: 7, want: /^Cannot use snat "no": want true or false$/ },
  {
    name: 'an exception with host bits',
    changes: { ipMasq: true, nonMasqueradeCIDRs: ['10.0.0.0/8', '10.1.2.3/24'] },
    code: 7,
    want: /^nonMasqueradeCIDRs\[1\]: Cannot parse prefix "10\.1\.2\.3\/24": host bits are set; want 10\.1\.2\.0\/24$/,
  },
  {
    name: 'too many exceptions',
    changes: { ipMasq: true, nonMasqueradeCIDRs: Array.from({ length: 65 }, (_, index) => `10.${index}.0.0/16`) },
    code: 7,
    want: /^Cannot use nonMasqueradeCIDRs with 65 prefixes: want at most 64$/,
  },
  { name: 'a mode that is a number', changes: { mode: 5 }, code: 7, want: /^Cannot use mode 5: want a string$/ },
  {
    name: 'ipMasq in words',
    changes: { ipMasq: 'yes' },
    code: 7,
    want: /^Cannot use ipMasq "yes": want true or false$/,
  },
  {
    name: 'too small an MTU',
    changes: { mtu: 67 },
    code: 7,
    want: /^Cannot use mtu 67: want an integer from 68 to 65535$/,
  },
  { name: 'too large an MTU', changes: { mtu: 65536 }, code: 7, want: /^Cannot use mtu 65536: want/ },
  { name: 'an MTU in words', changes: { mtu: '1500' }, code: 7, want: /^Cannot use mtu "1500": want/ },
  {
    name: 'an address in place of a list',
    changes: { ipsToRouteViaHost: '::1' },
    code: 7,
    want: /ipsToRouteViaHost "::1": want a list/,
  },
  {
    name: 'a bad address',
    changes: { ipsToRouteViaHost: ['fd00::1', '10.1'] },
    code: 7,
    want: /^ipsToRouteViaHost\[1\]: Cannot parse address "10\.1"/,
  },
  { name: 'no ipam', changes: { ipam: null }, code: 7, want: /^ipam is missing: want an object such as/ },
  {
    name: 'a relative socket',
    changes: { ipam: { ...BASE.ipam, socket: 'x' } },
    code: 7,
    want: /^Cannot use ipam\.socket "x": want an absolute path/,
  },
  { name: 'a socket with NUL', changes: { ipam: { ...BASE.ipam, socket: '/a\0' } }, code: 7, want: /ipam\.socket/ },
  {
    name: 'a socket of 108 bytes',
    changes: { ipam: { ...BASE.ipam, socket: `/é${'s'.repeat(105)}` } },
    code: 7,
    want: /at most 107 bytes/,
  },
  {
    name: 'an empty pool',
    changes: { ipam: { ...BASE.ipam, pool: '' } },
    code: 7,
    want: /^Cannot use ipam\.pool "": want the name of a pool, at most 253 characters$/,
  },
  {
    name: 'a pool that no pool can be called',
    changes: { ipam: { ...BASE.ipam, pool: 'x'.repeat(254) } },
    code: 7,
    want: /^Cannot use ipam\.pool "x+"… \(254 characters\): want the name of a pool, at most 253 characters$/,
  },
  {
    name: 'a pool that is a list',
    changes: { ipam: { ...BASE.ipam, pool: [] } },
    code: 7,
    want: /^Cannot use ipam\.pool \[\]: want a string$/,
  },
  {
    name: 'addresses that are kept for more than 30 days',
    changes: { ipam: { ...BASE.ipam, stickySeconds: 2_592_001 } },
    code: 7,
    want: /^Cannot use ipam\.stickySeconds 2592001: want an integer from 0 to 2592000$/,
  },
] as const

for (const c of refused) {
  t.test(`parseTulleConfiguration() refuses ${c.name} with code ${c.code} (${c.code === 2 ? 'C6' : 'C7'})`, async t => {
    t.throws(() => parseTulleConfiguration(net(c.changes)), { name: 'CniError', code: c.code, message: c.want })
  })
}

const capabilities = [
  { key: 'aliases', value: ['web'] },
  { key: 'infinibandGUID', value: 'c2:11' },
  { key: 'deviceID', value: '0000:03:02.0' },
] as const

for (const c of capabilities) {
  t.test(
    `parseTulleConfiguration() refuses the capability ${c.key} by name with code 2, but not when it asks for nothing`,
    async t => {
      t.throws(() => parseTulleConfiguration(net({ runtimeConfig: { [c.key]: c.value } })), {
        code: 2,
        message: new RegExp(`^runtimeConfig\\.${c.key} .* is not supported by this version`),
      })
      for (const nothing of [null, [], {}, '', [[]], { ingressRate: 0, egressRate: 0 }]) {
        t.doesNotThrow(
          () => parseTulleConfiguration(net({ runtimeConfig: { [c.key]: nothing } })),
          JSON.stringify(nothing),
        )
      }
    },
  )
}

t.test('parseTulleConfiguration() tolerates what containerd sends beside', async t => {
  const runtimeConfig = {
    'io.kubernetes.cri.pod-annotations': { a: 'b' },
    cgroupPath: '/kubepods/x',
    dns: { servers: ['10.96.0.10'] },
  }
  t.doesNotThrow(() => parseTulleConfiguration(net({ runtimeConfig })))
})

t.test('parseTulleConfiguration() refuses nothing for DEL, and falls back to defaults (D6)', async t => {
  const want = {
    mode: 'transparent',
    ipsToRouteViaHost: [],
    ipam: { kind: 'tulle', socketPath: '/run/tulle/ipamd.sock' },
    snat: true,
  }
  for (const c of refused) {
    const config = lenientNet(c.changes)
    t.strictSame(parseTulleConfiguration(config, { lenient: true }), want, c.name)
  }
  for (const { key, value } of capabilities) {
    t.strictSame(parseTulleConfiguration(lenientNet({ runtimeConfig: { [key]: value } }), { lenient: true }), want, key)
  }
})

t.test('parseTulleConfiguration() knows for DEL who leased', async t => {
  const socket = { ...BASE.ipam, socket: '/run/x.sock', pool: 5 }
  t.match(parseTulleConfiguration(lenientNet({ mode: 'bridge', ipam: socket }), { lenient: true }), {
    ipam: { socketPath: '/run/x.sock' },
  })
  t.match(parseTulleConfiguration(lenientNet({ ...DELEGATED, mtu: 1 }), { lenient: true }), {
    ipam: { type: 'host-local' },
  })
})

t.test('resolverSettings() prefers what the runtime asks for this pod, member by member (A7, E8)', async t => {
  const dns = { nameservers: ['1.1.1.1'], domain: 'example' }
  t.same(resolverSettings(net({})), {})
  t.same(resolverSettings(net({ dns })), dns)
  const runtimeConfig = { dns: { servers: ['10.96.0.10'], searches: ['svc'], options: ['ndots:5'] } }
  const want = { nameservers: ['10.96.0.10'], domain: 'example', search: ['svc'], options: ['ndots:5'] }
  t.same(resolverSettings(net({ dns, runtimeConfig })), want)
  t.throws(() => resolverSettings(net({ runtimeConfig: { dns: { servers: 'x' } } })), {
    code: 7,
    message: /runtimeConfig\.dns\.servers "x"/,
  })
})

t.test('parseTulleConfiguration() throws nothing but CniError, and nothing at all when lenient', async t => {
  const key = fc.constantFrom('mode', 'mtu', 'ipMasq', 'ipsToRouteViaHost', 'ipam', 'runtimeConfig', 'args')
  const value = fc.oneof(
    fc.jsonValue(),
    fc.dictionary(fc.constantFrom('type', 'socket', 'pool', 'cni'), fc.jsonValue()),
  )
  fc.assert(
    fc.property(fc.dictionary(key, value), changes => {
      parseTulleConfiguration(lenientNet(changes), { lenient: true })
      try {
        parseTulleConfiguration(net(changes))
        return true
      } catch (error) {
        return error instanceof CniError
      }
    }),
    { numRuns: 500 },
  )
  t.pass()
})

function net(changes: object): NetworkConfiguration {
  return parseNetworkConfiguration(JSON.stringify({ ...BASE, ...changes }))
}

function lenientNet(changes: object): NetworkConfiguration {
  return parseNetworkConfiguration(JSON.stringify({ ...BASE, ...changes }), { lenient: true })
}

import { deepStrictEqual } from 'node:assert'
import fc from 'fast-check'
import t from 'tap'

import { arbitraryAddress, arbitraryAddressWithLength, arbitraryPrefix } from '../net/arbitraries.ts'
import { CniError } from './errors.ts'
import { parseJsonObject } from './json.ts'
import { parseIpamResult, parseResult, renderResult } from './result.ts'
import { isAtLeast, SUPPORTED_VERSIONS } from './version.ts'
import type { JsonObject } from './json.ts'
import type { Result, ResultIp, ResultRoute } from './result.ts'
import type { CniVersion } from './version.ts'

const WHOLE = {
  cniVersion: '1.1.0',
  interfaces: [
    { name: 'tulb2d9e1a0abcd', mac: '02:00:00:00:00:01', mtu: 1450 },
    {
      name: 'eth0',
      mac: '02:00:00:00:00:02',
      sandbox: '/run/netns/pod',
      mtu: 1450,
      socketPath: '/run/vhost',
      pciID: '0000:00:1f.6',
    },
  ],
  ips: [
    { address: '10.244.1.7/32', gateway: '169.254.1.1', interface: 1 },
    { address: 'fd00:10:244::7/128', gateway: 'fe80::1', interface: 1 },
    { address: '10.244.1.8/32', interface: 1 },
  ],
  routes: [
    { dst: '0.0.0.0/0', gw: '169.254.1.1', mtu: 1400, advmss: 1360, priority: 100, table: 254, scope: 0 },
    { dst: '::/0', gw: 'fe80::1' },
  ],
  dns: { nameservers: ['10.96.0.10'], domain: 'cluster.local', search: ['svc.cluster.local'], options: ['ndots:5'] },
} as const

const WITHOUT_110 = {
  interfaces: [
    { name: 'tulb2d9e1a0abcd', mac: '02:00:00:00:00:01' },
    { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: '/run/netns/pod' },
  ],
  routes: [
    { dst: '0.0.0.0/0', gw: '169.254.1.1' },
    { dst: '::/0', gw: 'fe80::1' },
  ],
  dns: WHOLE.dns,
}

const WITH_IP_VERSION = [
  { version: '4', ...WHOLE.ips[0] },
  { version: '6', ...WHOLE.ips[1] },
  { version: '4', ...WHOLE.ips[2] },
]

const OLD = {
  ip4: { ip: '10.244.1.7/32', gateway: '169.254.1.1', routes: [{ dst: '0.0.0.0/0', gw: '169.254.1.1' }] },
  ip6: { ip: 'fd00:10:244::7/128', gateway: 'fe80::1', routes: [{ dst: '::/0', gw: 'fe80::1' }] },
  dns: WHOLE.dns,
}

const rendered: Readonly<Record<CniVersion, object>> = {
  '1.1.0': WHOLE,
  '1.0.0': { cniVersion: '1.0.0', ips: WHOLE.ips, ...WITHOUT_110 },
  '0.4.0': { cniVersion: '0.4.0', ips: WITH_IP_VERSION, ...WITHOUT_110 },
  '0.3.1': { cniVersion: '0.3.1', ips: WITH_IP_VERSION, ...WITHOUT_110 },
  '0.3.0': { cniVersion: '0.3.0', ips: WITH_IP_VERSION, ...WITHOUT_110 },
  '0.2.0': { cniVersion: '0.2.0', ...OLD },
  '0.1.0': { cniVersion: '0.1.0', ...OLD },
}

for (const version of SUPPORTED_VERSIONS) {
  t.test(`renderResult() writes what ${version} can carry (checklist 1.10, A3)`, async t => {
    t.strictSame(renderResult(parseResult(parseJsonObject(JSON.stringify(WHOLE)), '1.1.0'), version), rendered[version])
  })

  t.test(`renderResult() leaves empty lists and empty dns out in ${version} (A7)`, async t => {
    const empty: Result = {
      interfaces: [],
      ips: ipsOf('10.0.0.1/32'),
      routes: [],
      dns: { nameservers: [], domain: '' },
    }
    t.same(Object.keys(renderResult(empty, version)), ['cniVersion', isAtLeast(version, '0.3.0') ? 'ips' : 'ip4'])
  })

  t.test(`parseResult() reads back what renderResult() wrote in ${version}, but for what it cannot carry`, async t => {
    fc.assert(
      fc.property(arbitraryResult(), result => {
        fc.pre(isAtLeast(version, '0.3.0') || result.ips.length > 0)
        const text = JSON.stringify(renderResult(result, version))
        deepStrictEqual(parseResult(parseJsonObject(text), '1.1.0'), carriedBy(version, result))
      }),
    )
    t.pass()
  })
}

for (const version of ['0.1.0', '0.2.0'] as const) {
  t.test(`renderResult() refuses ${version} without an address (checklist 1.10)`, async t => {
    const nothing: Result = { interfaces: [{ name: 'eth0' }], ips: [], routes: [], dns: {} }
    t.throws(() => renderResult(nothing, version), { code: 1, message: 'cannot convert: no valid IP addresses' })
  })
}

t.test('parseResult() goes by the version in the result, in any case of the key (C9)', async t => {
  const old = { ip4: { ip: '10.0.0.1/24' } }
  for (const key of ['cniVersion', 'CNIVersion', 'cniversion']) {
    t.equal(parseResult({ [key]: '0.2.0', ...old }, '1.0.0').ips.length, 1)
  }
  t.equal(
    parseResult({ CNIVersion: '1.0.0', cniVersion: '0.2.0', ...old }, '1.0.0').ips.length,
    1,
    'the exact key wins',
  )
  t.equal(parseResult({ cniVersion: '', ...old }, '0.2.0').ips.length, 1, 'an empty version says nothing')
  t.equal(parseResult(old, '0.2.0').ips.length, 1)
  t.throws(() => parseResult({ cniVersion: '9.0.0' }, '1.0.0'), { code: 1 })
})

t.test('parseResult() takes null and "" for missing, and drops what it does not know (C10)', async t => {
  const json = {
    interfaces: [{ name: 'eth0', mac: '', sandbox: null, colour: 'red' }],
    ips: [{ address: '10.0.0.1/24', gateway: '', interface: null }],
    routes: null,
    dns: { nameservers: [], domain: '' },
    extra: {},
  }
  t.strictSame(parseResult(json, '1.0.0'), {
    interfaces: [{ name: 'eth0' }],
    ips: ipsOf('10.0.0.1/24'),
    routes: [],
    dns: {},
  })
})

t.test('parseResult() reduces a route to its network', async t => {
  const { routes } = parseResult({ routes: [{ dst: '10.1.2.3/8' }] }, '1.0.0')
  t.same(renderResult({ interfaces: [], ips: [], routes, dns: {} }, '1.0.0')['routes'], [{ dst: '10.0.0.0/8' }])
})

t.test('parseResult() keeps a hardware address that is not Ethernet', async t => {
  const mac = '80:00:00:48:fe:80:00:00:00:00:00:00:f4:52:14:03:00:7b:cb:a1'
  t.same(parseResult({ interfaces: [{ name: 'ib0', mac }] }, '1.0.0').interfaces, [{ name: 'ib0', mac }])
})

const refused = [
  { name: 'interfaces that are an object', json: { interfaces: {} }, want: 'Cannot use interfaces {}: want a list' },
  { name: 'an interface without a name', json: { interfaces: [{}] }, want: 'interfaces[0].name is missing: want' },
  {
    name: 'an address without a length',
    json: { ips: [{ address: '10.0.0.1' }] },
    want: 'ips[0].address: Cannot parse prefix "10.0.0.1"',
  },
  { name: 'a missing address', json: { ips: [{}] }, want: 'ips[0].address is missing' },
  {
    name: 'a bad gateway',
    json: { ips: [{ address: '10.0.0.1/8', gateway: 'x' }] },
    want: 'ips[0].gateway: Cannot parse address "x"',
  },
  {
    name: 'a negative index',
    json: { ips: [{ address: '10.0.0.1/8', interface: -1 }] },
    want: 'Cannot use ips[0].interface -1',
  },
  { name: 'a route without a destination', json: { routes: [{ gw: '10.0.0.1' }] }, want: 'routes[0].dst is missing' },
  { name: 'a scope over 255', json: { routes: [{ dst: '::/0', scope: 256 }] }, want: 'Cannot use routes[0].scope 256' },
  { name: 'dns that is a list', json: { dns: [] }, want: 'Cannot use dns []: want an object' },
  {
    name: 'an old address without a length',
    json: { cniVersion: '0.2.0', ip4: { ip: '10.0.0.1' } },
    want: 'ip4.ip: Cannot parse prefix',
  },
] as const

for (const c of refused) {
  t.test(`parseResult() refuses ${c.name} with code 6`, async t => {
    const error = thrownBy(() => parseResult(c.json, '1.0.0'))
    t.match(error, { name: 'CniError', code: 6 })
    t.ok(String(error).startsWith(`CniError: ${c.want}`), String(error))
  })
}

t.test('parseIpamResult() leaves interfaces and their indexes to the caller (checklist 1.11)', async t => {
  const result = parseIpamResult(parseJsonObject(JSON.stringify(WHOLE)), '1.1.0')
  t.same(result.interfaces, [])
  t.ok(result.ips.every(ip => !('interfaceIndex' in ip)))
  t.same(Object.keys(renderResult(result, '1.1.0')), ['cniVersion', 'ips', 'routes', 'dns'])
})

t.test('parseResult() throws nothing but CniError', async t => {
  const leaf = fc.oneof(fc.jsonValue(), fc.constantFrom('10.0.0.1/8', '::1', '0.2.0', ''))
  const part = fc.oneof(
    leaf,
    fc.array(fc.dictionary(fc.constantFrom('name', 'address', 'dst', 'ip', 'gw', 'routes'), leaf)),
  )
  const key = fc.constantFrom('cniVersion', 'interfaces', 'ips', 'routes', 'dns', 'ip4', 'ip6', '__proto__')
  fc.assert(
    fc.property(fc.dictionary(key, part), fc.constantFrom(...SUPPORTED_VERSIONS), (json, version) => {
      try {
        parseResult(parseJsonObject(JSON.stringify(json)), version)
        return true
      } catch (error) {
        return error instanceof CniError
      }
    }),
    { numRuns: 500 },
  )
  t.pass()
})

/** What is left of a result after a journey through `version`. */
function carriedBy(version: CniVersion, result: Result): Result {
  if (isAtLeast(version, '1.1.0')) return result
  const routes = result.routes.map(({ dst, gw }) => ({ dst, ...(gw ? { gw } : {}) }))
  if (isAtLeast(version, '0.3.0')) {
    const interfaces = result.interfaces.map(({ name, mac, sandbox }) => ({
      name,
      ...(mac ? { mac } : {}),
      ...(sandbox ? { sandbox } : {}),
    }))
    return { ...result, interfaces, routes }
  }
  const families = ([4, 6] as const).filter(family => result.ips.some(isOf(family)))
  return {
    interfaces: [],
    ips: families
      .flatMap(family => result.ips.filter(isOf(family)).slice(0, 1))
      .map(({ address, gateway }) => ({
        address,
        ...(gateway ? { gateway } : {}),
      })),
    routes: families.flatMap(family => routes.filter(route => route.dst.address.family === family)),
    dns: result.dns,
  }
}

function isOf(family: 4 | 6): (ip: ResultIp) => boolean {
  return ip => ip.address.address.family === family
}

function arbitraryResult(): fc.Arbitrary<Result> {
  const text = fc.string({ minLength: 1 })
  const texts = fc.array(text, { minLength: 1, maxLength: 2 })
  const uint32 = fc.nat(0xffff_ffff)
  const item = fc.record(
    { name: text, mac: text, mtuBytes: uint32, sandbox: text, socketPath: text, pciId: text },
    { requiredKeys: ['name'], noNullPrototype: true },
  )
  const ip: fc.Arbitrary<ResultIp> = fc.record(
    { address: arbitraryAddressWithLength, gateway: arbitraryAddress, interfaceIndex: uint32 },
    { requiredKeys: ['address'], noNullPrototype: true },
  )
  const numbers = { mtuBytes: uint32, advmss: uint32, priority: uint32, table: uint32, scope: fc.nat(255) }
  const route: fc.Arbitrary<ResultRoute> = fc.record(
    { dst: arbitraryPrefix, gw: arbitraryAddress, ...numbers },
    { requiredKeys: ['dst'], noNullPrototype: true },
  )
  const dns = fc.record(
    { nameservers: texts, domain: text, search: texts, options: texts },
    { requiredKeys: [], noNullPrototype: true },
  )
  return fc.record({ interfaces: few(item), ips: few(ip), routes: few(route), dns }, { noNullPrototype: true })
}

function few<Item>(item: fc.Arbitrary<Item>): fc.Arbitrary<Item[]> {
  return fc.array(item, { maxLength: 3 })
}

function ipsOf(address: string): readonly ResultIp[] {
  const json: JsonObject = { ips: [{ address }] }
  return parseResult(json, '1.0.0').ips
}

function thrownBy(run: () => unknown): unknown {
  try {
    run()
    return undefined
  } catch (error) {
    return error
  }
}

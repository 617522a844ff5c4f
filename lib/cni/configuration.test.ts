import fc from 'fast-check'
import t from 'tap'

import { parseNetworkConfiguration } from './configuration.ts'
import { CniError } from './errors.ts'

const BASE = { cniVersion: '1.1.0', name: 'pods', type: 'tulle', ipam: { type: 'tulle-ipam', pool: 'blue' } } as const

t.test('parseNetworkConfiguration() reads what every plugin has to know', async t => {
  const runtimeConfig = { dns: { servers: ['10.96.0.10'] } }
  const text = JSON.stringify({
    ...BASE,
    dns: { nameservers: ['1.1.1.1'] },
    runtimeConfig,
    args: { cni: { labels: [] } },
  })
  t.strictSame(parseNetworkConfiguration(text), {
    cniVersion: '1.1.0',
    name: 'pods',
    type: 'tulle',
    ipam: { type: 'tulle-ipam', raw: { type: 'tulle-ipam', pool: 'blue' } },
    dns: { nameservers: ['1.1.1.1'] },
    runtimeConfig,
    args: { cni: { labels: [] } },
    raw: JSON.parse(text),
  })
})

t.test('parseNetworkConfiguration() tolerates keys that nobody knows, and capabilities (C2, C4, C5)', async t => {
  const extra = { 'cni.dev/future': { a: 1 }, capabilities: { portMappings: true }, snat: true, __proto__x: 1 }
  t.same(parseNetworkConfiguration(JSON.stringify({ ...BASE, ...extra })).raw, { ...BASE, ...extra })
})

t.test('parseNetworkConfiguration() takes null for missing (C10)', async t => {
  const nulls = {
    ipam: null,
    prevResult: null,
    dns: null,
    runtimeConfig: null,
    args: null,
    'cni.dev/valid-attachments': null,
  }
  const config = parse({ ...BASE, ...nulls, cniVersion: null })
  t.same(Object.keys(config), ['cniVersion', 'name', 'type', 'runtimeConfig', 'args', 'raw'])
  t.match(config, { cniVersion: '0.1.0', runtimeConfig: {}, args: {} })
})

const refused = [
  { name: 'no JSON (C1)', stdin: 'not json', code: 6, want: /it is not JSON/ },
  { name: 'a list (C1)', stdin: '[]', code: 6, want: /want a JSON object/ },
  { name: 'a version that is a number', stdin: json({ cniVersion: 1 }), code: 6, want: /cniVersion 1: want a string/ },
  { name: 'a version that is none', stdin: json({ cniVersion: '1.0' }), code: 6, want: /cniVersion "1\.0"/ },
  {
    name: 'a version that we do not speak',
    stdin: json({ cniVersion: '2.0.0' }),
    code: 1,
    want: /^incompatible CNI versions$/,
  },
  { name: 'no name (E6)', stdin: json({ name: undefined }), code: 7, want: /^missing network name$/ },
  { name: 'an empty name (E6)', stdin: json({ name: '' }), code: 7, want: /^missing network name$/ },
  {
    name: 'a name with a slash (E6)',
    stdin: json({ name: 'a/b' }),
    code: 7,
    want: /^invalid characters found in network name$/,
  },
  { name: 'a name that is a number (E6)', stdin: json({ name: 5 }), code: 7, want: /name 5: want a string/ },
  { name: 'no type', stdin: json({ type: undefined }), code: 7, want: /^type is missing: want/ },
  {
    name: 'a type with a slash (C3)',
    stdin: json({ type: '../x' }),
    code: 7,
    want: /type "\.\.\/x": want the name of a plugin/,
  },
  { name: 'a type with a backslash (C3)', stdin: json({ type: 'a\\b' }), code: 7, want: /want the name of a plugin/ },
  {
    name: 'an ipam.type with a slash (C3)',
    stdin: json({ ipam: { type: '/bin/sh' } }),
    code: 7,
    want: /ipam\.type "\/bin\/sh": want/,
  },
  {
    name: 'an ipam.type that is a folder (C3)',
    stdin: json({ ipam: { type: '..' } }),
    code: 7,
    want: /ipam\.type "\.\.": want/,
  },
  { name: 'an ipam without a type (C7)', stdin: json({ ipam: {} }), code: 7, want: /^ipam\.type is missing: want/ },
  { name: 'an ipam that is a text (C7)', stdin: json({ ipam: 'x' }), code: 7, want: /ipam "x": want an object/ },
  { name: 'dns that is a list (C7)', stdin: json({ dns: [] }), code: 7, want: /dns \[\]: want an object/ },
  {
    name: 'a search list with a number (C7)',
    stdin: json({ dns: { search: ['a', 1] } }),
    code: 7,
    want: /dns\.search\[1\] 1: want a string/,
  },
  {
    name: 'runtimeConfig that is a list (C7)',
    stdin: json({ runtimeConfig: [] }),
    code: 7,
    want: /runtimeConfig \[\]: want an object/,
  },
  { name: 'args that are a text (C7)', stdin: json({ args: 'x' }), code: 7, want: /args "x": want an object/ },
  {
    name: 'a prevResult that is a text',
    stdin: json({ prevResult: 'x' }),
    code: 6,
    want: /prevResult "x": want an object/,
  },
  {
    name: 'a bad address in prevResult',
    stdin: json({ prevResult: { ips: [{ address: 'x' }] } }),
    code: 6,
    want: /^prevResult\.ips\[0\]\.address: /,
  },
  {
    name: 'attachments that are an object',
    stdin: json({ 'cni.dev/attachments': {} }),
    code: 7,
    want: /cni\.dev\/attachments \{\}: want a list/,
  },
  {
    name: 'an attachment without a container',
    stdin: json({ 'cni.dev/valid-attachments': [{ ifname: 'eth0' }] }),
    code: 7,
    want: /\[0\]\.containerID is missing/,
  },
  {
    name: 'an attachment that is null',
    stdin: json({ 'cni.dev/valid-attachments': [null] }),
    code: 7,
    want: /valid-attachments\[0\] null: want an object/,
  },
] as const

for (const c of refused) {
  t.test(`parseNetworkConfiguration() refuses ${c.name} with code ${c.code}`, async t => {
    t.throws(() => parseNetworkConfiguration(c.stdin), { name: 'CniError', code: c.code, message: c.want })
  })
}

t.test(
  'parseNetworkConfiguration() reads a prevResult of the version that it says, in any case, or else of the configuration (C9)',
  async t => {
    const old = { ip4: { ip: '10.0.0.1/24' } }
    t.equal(parse({ ...BASE, prevResult: { CNIVersion: '0.2.0', ...old } }).prevResult?.ips.length, 1)
    t.equal(parse({ ...BASE, cniVersion: '0.2.0', prevResult: old }).prevResult?.ips.length, 1)
    t.equal(
      parse({ ...BASE, prevResult: { cniVersion: '1.0.0', ips: [{ address: '::1/64' }] } }).prevResult?.ips.length,
      1,
    )
  },
)

const a = { containerID: 'a', ifname: 'eth0' }
const b = { containerID: 'b', ifname: 'net1' }
const attachments = [
  { name: 'no list means that the runtime named none (G3)', keys: {}, want: undefined },
  {
    name: 'null means the same (G3)',
    keys: { 'cni.dev/valid-attachments': null, 'cni.dev/attachments': null },
    want: undefined,
  },
  { name: 'an empty list means that none is alive (G3)', keys: { 'cni.dev/valid-attachments': [] }, want: '' },
  { name: 'the specification has its key (G1)', keys: { 'cni.dev/valid-attachments': [a] }, want: 'a/eth0' },
  { name: 'libcni had another (G2)', keys: { 'cni.dev/attachments': [b] }, want: 'b/net1' },
  {
    name: 'both are united (G2)',
    keys: { 'cni.dev/valid-attachments': [a], 'cni.dev/attachments': [b] },
    want: 'a/eth0 b/net1',
  },
  {
    name: 'a null beside a list says nothing (G2, G3)',
    keys: { 'cni.dev/valid-attachments': null, 'cni.dev/attachments': [b] },
    want: 'b/net1',
  },
] as const

for (const c of attachments) {
  t.test(`parseNetworkConfiguration() reads valid attachments: ${c.name}`, async t => {
    const { validAttachments } = parse({ ...BASE, ...c.keys })
    t.equal(validAttachments?.map(({ containerId, ifName }) => `${containerId}/${ifName}`).join(' '), c.want)
  })
}

t.test('parseNetworkConfiguration() leaves out for DEL what it cannot read and does not need (D6)', async t => {
  const broken = {
    type: 'a/b',
    ipam: 'x',
    prevResult: { ips: [{}] },
    dns: [],
    runtimeConfig: 1,
    args: [],
    'cni.dev/attachments': 0,
  }
  const config = parseNetworkConfiguration(JSON.stringify({ ...BASE, ...broken }), { lenient: true })
  t.strictSame(config, {
    cniVersion: '1.1.0',
    name: 'pods',
    type: '',
    runtimeConfig: {},
    args: {},
    raw: { ...BASE, ...broken },
  })
})

t.test('parseNetworkConfiguration() keeps for DEL what it can read', async t => {
  const config = parseNetworkConfiguration(JSON.stringify({ ...BASE, prevResult: 5 }), { lenient: true })
  t.match(config, { type: 'tulle', ipam: { type: 'tulle-ipam' } })
})

t.test('parseNetworkConfiguration() refuses even for DEL what it cannot do without', async t => {
  t.throws(() => parseNetworkConfiguration('{', { lenient: true }), { code: 6 })
  t.throws(() => parseNetworkConfiguration(json({ cniVersion: '9.9.9' }), { lenient: true }), { code: 1 })
  t.throws(() => parseNetworkConfiguration(json({ name: '' }), { lenient: true }), { code: 7 })
})

t.test('parseNetworkConfiguration() throws nothing but CniError', async t => {
  const key = fc.constantFrom(
    'cniVersion',
    'name',
    'type',
    'ipam',
    'prevResult',
    'dns',
    'args',
    'cni.dev/attachments',
    'x',
  )
  fc.assert(
    fc.property(fc.dictionary(key, fc.jsonValue()), fc.boolean(), fc.boolean(), (extra, isBased, lenient) => {
      try {
        parseNetworkConfiguration(JSON.stringify({ ...(isBased ? BASE : {}), ...extra }), { lenient })
        return true
      } catch (error) {
        return error instanceof CniError
      }
    }),
    { numRuns: 500 },
  )
  t.pass()
})

function json(changes: object): string {
  return JSON.stringify({ ...BASE, ...changes })
}

function parse(config: object) {
  return parseNetworkConfiguration(JSON.stringify(config))
}

import { readFile } from 'node:fs/promises'
import { Ajv } from 'ajv'
import t from 'tap'
import { formatPrefix } from '../lib/net/prefix.ts'
import { ConfigError, parseConfig } from './config.ts'

const POOL = { name: 'default', prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'] }
const CONFIG = { socket: '/run/tulle/ipamd.sock', stateDir: '/var/lib/tulle', pools: [POOL] }

function withPool(change: object): object {
  return { ...CONFIG, pools: [{ ...POOL, ...change }] }
}

t.test('parseConfig() takes the whole fixed interface', async t => {
  const config = parseConfig(
    JSON.stringify({
      ...CONFIG,
      node: 'n1',
      pools: [
        {
          ...POOL,
          blockPrefixLength: { ipv4: 25, ipv6: 72 },
          exclude: ['10.244.0.9', '10.244.8.0/24'],
          cooldownSeconds: 5,
        },
      ],
      blockSource: { type: 'local' },
    }),
    'host',
  )
  t.equal(config.nodeName, 'n1')
  t.equal(config.socketPath, '/run/tulle/ipamd.sock')
  const pool = config.pools[0]
  t.same(pool?.prefixes.map(formatPrefix), POOL.prefixes)
  t.same(pool?.exclude.map(formatPrefix), ['10.244.0.9/32', '10.244.8.0/24'])
  t.same(pool?.blockPrefixLength, { 4: 25, 6: 72 })
  t.equal(pool?.cooldownMs, 5000)
})

t.test('parseConfig() fills in what is optional', async t => {
  const config = parseConfig(JSON.stringify(CONFIG), 'host')
  t.equal(config.nodeName, 'host')
  t.same(config.pools[0], { ...config.pools[0], blockPrefixLength: { 4: 24, 6: 64 }, exclude: [], cooldownMs: 30_000 })
})

t.test('parseConfig() takes the limits of a pool and of the history', async t => {
  const pool = { ...POOL, maxBlocks: 3, whenOnlyCooling: 'takeOldest' }
  const config = parseConfig(JSON.stringify({ ...CONFIG, historyDays: 2, historyRows: 5000, pools: [pool] }), 'host')
  t.match(config.pools[0], { maxBlocks: 3, whenOnlyCooling: 'takeOldest' })
  t.same(config.history, { keepMs: 2 * 86_400_000, maxRows: 5000 })
  const usual = parseConfig(JSON.stringify(CONFIG), 'host')
  t.match(usual.pools[0], { maxBlocks: undefined, whenOnlyCooling: 'wait' })
  t.same(usual.history, { keepMs: 30 * 86_400_000, maxRows: 500_000 })
})

t.test('parseConfig() takes another place for /proc/sys', async t => {
  const config = parseConfig(JSON.stringify({ ...CONFIG, procSys: '/host/proc/sys' }), 'host')
  t.equal(config.procSys, '/host/proc/sys')
  t.equal(parseConfig(JSON.stringify(CONFIG), 'host').procSys, undefined)
})

const refused = [
  { name: 'a relative /proc/sys', config: { ...CONFIG, procSys: 'proc/sys' }, want: 'procSys: "proc/sys": ' },
  {
    name: 'a /proc/sys that is too long',
    config: { ...CONFIG, procSys: `/${'a'.repeat(255)}` },
    want: 'procSys: "',
  },
  {
    name: 'an unknown policy',
    config: withPool({ whenOnlyCooling: 'hope' }),
    want: 'pools[0].whenOnlyCooling: "hope": want one of wait, takeOldest',
  },
  { name: 'a limit of no block', config: withPool({ maxBlocks: 0 }), want: 'pools[0].maxBlocks: 0: must be >= 1' },
  { name: 'an unknown key', config: { ...CONFIG, colour: 1 }, want: 'colour: unknown key' },
  { name: 'an unknown key of a pool', config: withPool({ prefix: 'x' }), want: 'pools[0].prefix: unknown key' },
  { name: 'a missing key', config: { socket: '/a', pools: [POOL] }, want: 'stateDir: missing' },
  { name: 'no pool', config: { ...CONFIG, pools: [] }, want: 'pools: []: must NOT have fewer than 1 items' },
  { name: 'a pool without a prefix', config: withPool({ prefixes: [] }), want: 'pools[0].prefixes: []: ' },
  { name: 'a relative socket', config: { ...CONFIG, socket: 'ipamd.sock' }, want: 'socket: "ipamd.sock": ' },
  {
    name: 'a socket that is too long',
    config: { ...CONFIG, socket: `/${'a'.repeat(107)}` },
    want: 'want at most 107 bytes',
  },
  { name: 'a wrong type', config: { ...CONFIG, node: 7 }, want: 'node: 7: want string' },
  { name: 'an array', config: [], want: 'configuration: []: want object' },
  {
    name: 'host bits in a prefix',
    config: withPool({ prefixes: ['10.244.0.0/16', '10.0.0.1/8'] }),
    want: 'pools[0].prefixes[1]: ',
  },
  { name: 'text that is no prefix', config: withPool({ prefixes: ['10.1'] }), want: 'pools[0].prefixes[0]: ' },
  {
    name: 'overlap within a pool',
    config: withPool({ prefixes: ['10.0.0.0/8', '10.244.0.0/16'] }),
    want: 'pools[0].prefixes[1]: "10.244.0.0/16": overlaps pools[0].prefixes[0], "10.0.0.0/8"',
  },
  {
    name: 'overlap across pools (R31)',
    config: { ...CONFIG, pools: [POOL, { name: 'second', prefixes: ['fd00:10:244:7::/64'] }] },
    want: 'pools[1].prefixes[0]: "fd00:10:244:7::/64": overlaps pools[0].prefixes[1], "fd00:10:244::/56"',
  },
  {
    name: 'two pools of one name',
    config: { ...CONFIG, pools: [POOL, { ...POOL, prefixes: ['10.1.0.0/16'] }] },
    want: 'pools[1].name: "default"',
  },
  {
    name: 'a block larger than its prefix',
    config: withPool({ blockPrefixLength: { ipv4: 8 } }),
    want: 'pools[0].blockPrefixLength.ipv4: 8: want at least 16',
  },
  {
    name: 'a block length that no family has',
    config: withPool({ blockPrefixLength: { ipv4: 33 } }),
    want: 'pools[0].blockPrefixLength.ipv4: 33: ',
  },
  {
    name: 'an exclusion outside the pool',
    config: withPool({ exclude: ['10.9.0.1'] }),
    want: 'pools[0].exclude[0]: "10.9.0.1": ',
  },
  { name: 'a negative cooldown', config: withPool({ cooldownSeconds: -1 }), want: 'pools[0].cooldownSeconds: -1: ' },
  {
    name: 'a block source of a later version',
    config: { ...CONFIG, blockSource: { type: 'carrier-pigeon' } },
    want: 'blockSource.type: "carrier-pigeon": want one of local, kubernetes, socket',
  },
  {
    name: 'a pool without prefixes whose blocks nobody hands over',
    config: { ...CONFIG, pools: [{ name: 'default' }] },
    want: 'pools[0].prefixes: missing',
  },
  {
    name: 'prefixes where pod CIDRs are handed over',
    config: withPool({ blockSource: { type: 'kubernetes' } }),
    want: 'pools[0].prefixes: ["10.244.0.0/16","fd00:10:244::/56"]: want none where the block source is "kubernetes"',
  },
  {
    name: 'a limit of blocks where pod CIDRs are handed over',
    config: { ...CONFIG, pools: [{ name: 'a', maxBlocks: 2, blockSource: { type: 'kubernetes' } }] },
    want: 'pools[0].maxBlocks: 2: want none',
  },
  {
    name: 'a service range inside a pool',
    config: { ...CONFIG, serviceRanges: ['10.96.0.0/12', '10.244.0.0/24'] },
    want: 'serviceRanges[1]: "10.244.0.0/24": overlaps pools[0].prefixes[0], "10.244.0.0/16"',
  },
  {
    name: 'an upstream without a socket',
    config: { ...withPool({ blockSource: { type: 'socket' } }), node: 'n1' },
    want: 'pools[0].blockSource.socket: missing',
  },
  {
    name: 'an upstream, and no name for the node',
    config: withPool({ blockSource: { type: 'socket', socket: '/run/up.sock' } }),
    want: 'node: missing, and pools[0] gets its blocks under that name',
  },
  {
    name: 'a daemon that is its own upstream',
    config: { ...withPool({ blockSource: { type: 'socket', socket: '/run/tulle/ipamd.sock' } }), node: 'n1' },
    want: 'pools[0].blockSource.socket: "/run/tulle/ipamd.sock": want another',
  },
  {
    name: 'a socket beside another block source',
    config: withPool({ blockSource: { type: 'local', socket: '/run/up.sock' } }),
    want: 'pools[0].blockSource.socket: "/run/up.sock": want none beside type "local"',
  },
  {
    name: 'a short grace where the locks of ADD may be out of sight',
    config: { ...CONFIG, socket: '/run/elsewhere/ipamd.sock', reconcile: { graceSeconds: 59 } },
    want: 'reconcile.graceSeconds: 59: want at least 60 where the socket is not in /run/tulle',
  },
  {
    name: 'two pools that take the pod CIDRs of the node',
    config: { ...CONFIG, pools: [{ name: 'a' }, { name: 'b' }], blockSource: { type: 'kubernetes' } },
    want: 'pools[1].blockSource.type: "kubernetes": pool "a" has it, want it once',
  },
] as const
for (const { name, config, want } of refused) {
  t.test(`parseConfig() refuses ${name} with its path and value`, async t => {
    try {
      parseConfig(JSON.stringify(config), 'host')
      t.fail('it was taken')
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      t.ok(error.message.includes(want), error.message)
    }
  })
}

t.test('parseConfig() refuses what is not JSON', async t => {
  t.throws(() => parseConfig('{', 'host'), { name: 'ConfigError', message: /^not JSON: / })
})

t.test('parseConfig() takes a block length for a family that the pool lacks', async t => {
  const config = withPool({ prefixes: ['10.244.0.0/28'], blockPrefixLength: { ipv6: 64 } })
  t.same(parseConfig(JSON.stringify(config), 'host').pools[0]?.blockPrefixLength, { 4: 24, 6: 64 })
})

t.test('config.schema.json compiles under the strict mode of ajv', async t => {
  const schema: unknown = JSON.parse(await readFile(new URL('config.schema.json', import.meta.url), 'utf8'))
  t.ok(new Ajv({ strict: true }).compile(schema as object)(CONFIG))
})

t.test('parseConfig() takes when stale leases are looked for, and has a default', async t => {
  t.same(parseConfig(JSON.stringify(CONFIG), 'n').reconcile, { intervalMs: 60_000, graceMs: 120_000 })
  const config = { ...CONFIG, reconcile: { intervalSeconds: 5, graceSeconds: 7 } }
  t.same(parseConfig(JSON.stringify(config), 'n').reconcile, { intervalMs: 5000, graceMs: 7000 })
  const never = { ...CONFIG, reconcile: { graceSeconds: 0 } }
  t.throws(() => parseConfig(JSON.stringify(never), 'n'), /reconcile.graceSeconds: 0: /)
})

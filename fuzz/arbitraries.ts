import fc from 'fast-check'
import { SUPPORTED_VERSIONS } from '../lib/cni/version.ts'
import { GOOD_CONFIGURATIONS, GOOD_ENV, GOOD_RESULTS, NETWORK, type Json, type PluginCase } from './plugin-case.ts'

/** Texts that have broken parsers: empty, control characters, halves of pairs, other scripts, paths, long, nearly right. */
const HOSTILE_TEXTS = [
  '',
  ' ',
  '\0',
  'a\0b',
  '\n',
  '\u001b[31m',
  '\ud800',
  '\u202e',
  'é',
  '.',
  '..',
  '/',
  '../../etc/passwd',
  '/dev/zero',
  '/proc/self/ns/net',
  '__proto__',
  'constructor',
  'toString',
  'null',
  '-1',
  '1e309',
  '0x10',
  '%s%n',
  '${PATH}',
  '$(id)',
  "'; DROP TABLE leases; --",
  'x'.repeat(16),
  'x'.repeat(129),
  'x'.repeat(5_000),
  'eth0',
  'lo',
  'all',
  'default',
  'cni0',
  'tulcontract',
  '10.1',
  '010.0.0.1',
  '10.0.0.1/33',
  '10.0.0.1/-1',
  '10.0.0.0/0',
  '10.9.0.1/31',
  '0.0.0.0/0',
  '::/0',
  '::1/128',
  '::ffff:10.0.0.1/128',
  'fe80::1%eth0',
  'fe80::1/64',
  '255.255.255.255/32',
  '224.0.0.1/24',
  '127.0.0.1/8',
  '169.254.1.1/32',
  '00:00:00:00:00:00',
  'ff:ff:ff:ff:ff:ff',
  '02:00:00:00:00:01',
  '01:00:5e:00:00:01',
  'host-local',
  'tulle',
  'tulle-ipam',
  'bridge',
  'transparent',
  '0.4.0',
  '1.1.0',
  '2.0.0',
  '1.0.0-rc1',
]

/** A text that somebody did not think of. */
export const hostileText: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...HOSTILE_TEXTS) },
  { weight: 1, arbitrary: fc.string({ maxLength: 40 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
)

const scalar: fc.Arbitrary<Json> = fc.oneof(
  hostileText,
  fc.constantFrom(null, true, false, 0, 1, -1, 67, 1279, 65_535, 65_536, 2 ** 31, 2 ** 32, 2 ** 53, -0.5, 1e21, 1e308),
)

/** A value where another was expected. */
export const hostileJson: fc.Arbitrary<Json> = fc.oneof(
  { weight: 6, arbitrary: scalar },
  { weight: 2, arbitrary: fc.array(scalar, { maxLength: 3 }) },
  { weight: 2, arbitrary: fc.dictionary(hostileText, scalar, { maxKeys: 3 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Json>([], {}, [[]], [{}], [null], { '': {} }, nested(10), nested(63), nested(70)),
  },
)

function nested(depth: number): Json {
  let value: Json = 1
  for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { a: value }
  return value
}

/** Where in a document something is done to it: the choices on the way down, each modulo what is there. */
interface Mutation {
  readonly path: readonly number[]
  readonly how: 'replace' | 'delete' | 'add' | 'repeat'
  readonly key: string
  readonly value: Json
}

/** Keys that mean something to somebody. */
const KNOWN_KEYS = [
  'cniVersion',
  'CNIVersion',
  'name',
  'type',
  'mode',
  'mtu',
  'ipMasq',
  'ipam',
  'dns',
  'prevResult',
  'runtimeConfig',
  'args',
  'cni',
  'mac',
  'ips',
  'ipRanges',
  'portMappings',
  'bandwidth',
  'aliases',
  'deviceID',
  'socket',
  'pool',
  'ipsToRouteViaHost',
  'bridge',
  'isGateway',
  'isDefaultGateway',
  'vlan',
  'vlanTrunk',
  'macspoofchk',
  'routes',
  'interfaces',
  'address',
  'gateway',
  'interface',
  'dst',
  'gw',
  'sandbox',
  'ip4',
  'ip6',
  'ip',
  'priority',
  'scope',
  'cni.dev/valid-attachments',
  'cni.dev/attachments',
  'containerID',
  'ifname',
  'capabilities',
  '__proto__',
  'io.x',
]

const mutation: fc.Arbitrary<Mutation> = fc.record({
  path: fc.array(fc.nat({ max: 30 }), { maxLength: 4 }),
  how: fc.constantFrom('replace', 'replace', 'delete', 'add', 'repeat'),
  key: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...KNOWN_KEYS) }, { weight: 1, arbitrary: hostileText }),
  value: hostileJson,
})

function mutate(value: Json, { path, how, key, value: other }: Mutation): Json {
  const [choice, ...rest] = path
  const isInner = typeof value === 'object' && value !== null
  if (choice === undefined || !isInner) return here(value, { how, key, other })
  const keys = Object.keys(value)
  const name = keys[choice % Math.max(keys.length, 1)]
  if (name === undefined) return here(value, { how, key, other })
  const members = Object.entries<Json>(value).flatMap(([each, inner]) => {
    if (each !== name) return [[each, inner] as const]
    if (rest.length === 0 && how === 'delete') return []
    return [[each, mutate(inner, { path: rest, how, key, value: other })] as const]
  })
  return Array.isArray(value) ? members.map(([, inner]) => inner) : Object.fromEntries(members)
}

function here(value: Json, { how, key, other }: { how: Mutation['how']; key: string; other: Json }): Json {
  if (how === 'repeat') return [value, value]
  if (how !== 'add' || typeof value !== 'object' || value === null || Array.isArray(value)) return other
  return Object.fromEntries([...Object.entries<Json>(value), [key, other]])
}

/** A document of which some parts are not what they were. */
export function mutatedJson(bases: readonly Json[], max: number): fc.Arbitrary<Json> {
  return fc
    .tuple(fc.constantFrom(...bases), fc.oneof(fc.constant([]), fc.array(mutation, { maxLength: max })))
    .map(([base, mutations]) => mutations.reduce<Json>(mutate, base))
}

/** What happens to the text of a document on its way. */
const damage: fc.Arbitrary<(text: string) => string> = fc.oneof(
  { weight: 30, arbitrary: fc.constant((text: string) => text) },
  { weight: 1, arbitrary: fc.nat({ max: 2_000 }).map(at => (text: string) => text.slice(0, at)) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.nat({ max: 2_000 }), hostileText).map(
      ([at, more]) =>
        (text: string) =>
          text.slice(0, at) + more + text.slice(at),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      (text: string) => text + text,
      (text: string) => `\ufeff${text}`,
      () => '',
    ),
  },
  { weight: 1, arbitrary: hostileJson.map(value => () => JSON.stringify(value)) },
)

const environment: fc.Arbitrary<Readonly<Record<string, string>>> = fc
  .tuple(
    fc.oneof(
      {
        weight: 12,
        arbitrary: fc.constantFrom('ADD', 'ADD', 'ADD', 'DEL', 'CHECK', 'CHECK', 'GC', 'STATUS', 'VERSION'),
      },
      { weight: 1, arbitrary: hostileText },
    ),
    fc.array(
      fc.tuple(
        fc.constantFrom('CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME', 'CNI_PATH', 'CNI_ARGS', 'CNI_NETNS_OVERRIDE'),
        fc.option(fc.oneof(hostileText, cniArgs()), { nil: undefined }),
      ),
      { maxLength: 2 },
    ),
    fc.boolean(),
  )
  .map(([command, changes, isGood]) => {
    const changed = isGood ? [] : changes
    const all = { ...GOOD_ENV, CNI_COMMAND: command, ...Object.fromEntries(changed) }
    const set = Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== undefined)
    // No environment holds a NUL.
    return Object.fromEntries(set.map(([key, value]) => [key, value.replaceAll('\0', '')]))
  })

function cniArgs(): fc.Arbitrary<string> {
  const key = fc.constantFrom('IP', 'MAC', 'IgnoreUnknown', 'K8S_POD_NAME', 'K8S_POD_NAMESPACE', 'FOO', '')
  return fc
    .array(fc.tuple(key, hostileText), { maxLength: 4 })
    .map(pairs => pairs.map(([name, value]) => `${name}=${value}`).join(';'))
}

const configuration: fc.Arbitrary<string> = fc
  .tuple(
    mutatedJson(GOOD_CONFIGURATIONS, 2),
    fc.constantFrom(...SUPPORTED_VERSIONS, '1.1.0', '1.1.0', '1.0.0'),
    fc.oneof({ weight: 2, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: mutatedJson(GOOD_RESULTS, 1) }),
    damage,
  )
  .map(([base, cniVersion, prevResult, harm]) => {
    const isObject = typeof base === 'object' && base !== null && !Array.isArray(base)
    const head = { cniVersion, name: NETWORK }
    const result = prevResult === undefined ? {} : { prevResult }
    const whole = isObject ? Object.assign({}, head, base, result) : base
    return harm(JSON.stringify(whole))
  })

/** One run of the plugin with something wrong, as a rule. */
export const pluginCase: fc.Arbitrary<PluginCase> = fc.record(
  {
    isAttached: fc.boolean(),
    env: environment,
    stdin: configuration,
    ipamStdout: fc.tuple(mutatedJson(GOOD_RESULTS, 2), damage).map(([result, harm]) => harm(JSON.stringify(result))),
  },
  { requiredKeys: ['isAttached', 'env', 'stdin'] },
)

import fc from 'fast-check'
import type { JsonObject } from './json.ts'
import type { Scene } from './same-answer.ts'
import { HOST_IPV4, HOST_IPV6 } from './tulle-node.ts'

/** All versions of the specification. */
export const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const

/**
 * Pools with one address of each family, so that whoever asks, and whenever, gets the same; but for `wide`, of which scenes name the
 * addresses that they want.
 */
export const POOLS = [
  onlyOne('dual', '10.244.0.0/30', 'fd00:10:244::/126'),
  onlyOne('four', '10.244.4.0/30'),
  onlyOne('six', 'fd00:10:246::/126'),
  onlyOne('holder', '10.244.8.0/30', 'fd00:10:248::/126'),
  { name: 'wide', prefixes: ['10.244.16.0/28', 'fd00:10:24f::/124'], cooldownSeconds: 0 },
]

/** The port that the test's other pod has: asking for it is refused, with that pod's name. */
export const HELD_PORT = 9090

function onlyOne(name: string, ...prefixes: readonly string[]): JsonObject {
  // Of four addresses of IPv6 only the first is none of a pod's.
  const exclude = prefixes.filter(prefix => prefix.includes(':')).flatMap(prefix => [prefix.replace('/126', '3/128')])
  return { name, prefixes, exclude, cooldownSeconds: 0 }
}

/** Everything at once, in a form that is right: in every mode and version it has to be the same both ways. */
export function everything(cniVersion: string, mode: 'transparent' | 'bridge'): Scene {
  return {
    verbs: ['ADD', 'CHECK', 'ADD', 'STATUS', 'GC', 'CHECK', 'DEL', 'DEL', 'CHECK', 'VERSION'],
    configuration: {
      cniVersion,
      mode,
      ...(mode === 'bridge' ? { isDefaultGateway: true, hairpinMode: true } : { ipsToRouteViaHost: ['169.254.20.10'] }),
      ipMasq: true,
      nonMasqueradeCIDRs: ['10.0.0.0/8', 'fd00::/8'],
      mtu: 1400,
      dns: { nameservers: ['10.96.0.10'], search: ['cluster.local'] },
      ipam: { type: 'tulle-ipam', pool: 'wide' },
      runtimeConfig: {
        ips: ['10.244.16.5', 'fd00:10:24f::5'],
        mac: '02:00:00:00:00:07',
        portMappings: [
          { hostPort: 8080, containerPort: 80, protocol: 'tcp' },
          { hostPort: 5353, containerPort: 53, protocol: 'udp', hostIP: HOST_IPV4 },
        ],
        bandwidth: { ingressRate: 80_000_000, ingressBurst: 8_000_000, egressRate: 40_000_000, egressBurst: 4_000_000 },
      },
      'cni.dev/valid-attachments': [{ containerID: 'c1', ifname: 'eth0' }],
    },
    env: { CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u' },
    keepsResult: true,
  }
}

const verbs: fc.Arbitrary<Scene['verbs']> = fc.constantFrom(
  ['ADD', 'CHECK', 'DEL', 'CHECK'],
  ['ADD', 'ADD', 'DEL', 'DEL'],
  ['ADD', 'GC', 'CHECK', 'STATUS', 'DEL', 'STATUS'],
  ['ADD', 'DEL', 'ADD', 'CHECK', 'GC', 'DEL'],
)

/** Most of what a scene has must be right, or no pod would ever come to be. */
const mostly = <T>(usual: fc.Arbitrary<T>, wrong: fc.Arbitrary<T>): fc.Arbitrary<T> =>
  fc.oneof({ weight: 15, arbitrary: usual }, { weight: 1, arbitrary: wrong })

const modes = fc.oneof(
  fc.record(
    {
      mode: fc.constant('transparent'),
      ipsToRouteViaHost: fc.constantFrom(['169.254.20.10'], ['169.254.20.10', 'fd00::53']),
    },
    { requiredKeys: [] },
  ),
  fc.record(
    {
      mode: fc.constant('bridge'),
      bridge: mostly(fc.constant('cni0'), fc.constant('a/b')),
      isGateway: fc.boolean(),
      isDefaultGateway: fc.boolean(),
      hairpinMode: fc.boolean(),
      promiscMode: fc.boolean(),
      ipsToRouteViaHost: fc.constant(['169.254.20.10']),
      vlan: mostly(fc.constant(0), fc.constant(7)),
    },
    { requiredKeys: ['mode'] },
  ),
)

const rate = mostly<unknown>(
  fc.constantFrom(8_000_000, 80_000_000),
  fc.constantFrom(0, 8, 4_294_967_295, -1, 1.5, '1M'),
)
const shaping = fc.record(
  { ingressRate: rate, ingressBurst: rate, egressRate: rate, egressBurst: rate },
  { requiredKeys: [] },
)
const port = fc.record(
  {
    hostPort: mostly<unknown>(fc.integer({ min: 8080, max: 8099 }), fc.constantFrom(HELD_PORT, 0, 65_536, '80')),
    containerPort: mostly<unknown>(fc.constantFrom(80, 53), fc.constant(0)),
    protocol: mostly<unknown>(fc.constantFrom('tcp', 'udp'), fc.constantFrom('sctp', 'TCP', 'icmp')),
    hostIP: mostly(fc.constantFrom(HOST_IPV4, '0.0.0.0', ''), fc.constantFrom(HOST_IPV6, '::', 'x')),
  },
  { requiredKeys: ['hostPort', 'containerPort'] },
)
/** Both families of `wide`, or what it refuses: addresses of others, the gateway, two of a family, no addresses. */
const asked = fc.constantFrom(
  ['10.244.16.5', 'fd00:10:24f::5'],
  ['10.244.16.6/28', 'fd00:10:24f::6/124'],
  ['10.244.16.1', 'fd00:10:24f::5'],
  ['10.244.16.5', '10.244.16.6'],
  ['192.0.2.1', 'fd00:10:24f::5'],
  ['10.244.016.5'],
  ['x'],
)
const ranges = fc.constantFrom<unknown>(
  [
    [{ subnet: '10.244.16.0/28', rangeStart: '10.244.16.9', rangeEnd: '10.244.16.9' }],
    [{ subnet: 'fd00:10:24f::9/128' }],
  ],
  [[{ subnet: '192.0.2.0/24' }]],
  [[]],
  'x',
)

/** Of `wide` addresses are named, in one of the ways that there are. */
const named: fc.Arbitrary<Wish> = fc.oneof(
  asked.map(ips => ({ pool: 'wide', runtimeConfig: { ips } })),
  asked.map(ips => ({ pool: 'wide', args: { cni: { ips } } })),
  asked.map(ips => ({
    pool: 'wide',
    runtimeConfig: { 'io.kubernetes.cri.pod-annotations': { 'tulle.dev/addresses': ips.join(',') } },
  })),
  ranges.map(ipRanges => ({ pool: 'wide', runtimeConfig: { ipRanges } })),
)
const wishes: fc.Arbitrary<Wish> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('dual', 'four', 'six').map(pool => ({ pool })) },
  { weight: 2, arbitrary: named },
  {
    weight: 1,
    arbitrary: fc.constantFrom<Wish>({ pool: 'none' }, { pool: 'dual', runtimeConfig: { ips: ['10.244.0.3'] } }),
  },
)

interface Wish {
  readonly pool: string
  readonly runtimeConfig?: JsonObject
  readonly args?: JsonObject
}

/** Scenes of everything that a pod may ask for, right and wrong, in both modes and all versions. */
export const featureScenes: fc.Arbitrary<Scene> = fc
  .record({
    verbs,
    cniVersion: fc.constantFrom(...VERSIONS),
    mode: modes,
    wish: wishes,
    masquerade: fc.record(
      {
        ipMasq: mostly<unknown>(fc.boolean(), fc.constant('x')),
        nonMasqueradeCIDRs: mostly<unknown>(
          fc.constantFrom(['10.0.0.0/8'], ['fd00::/8', '10.0.0.0/8']),
          fc.constantFrom<unknown>(['10.0.0.1/8'], 'x'),
        ),
        snat: fc.boolean(),
      },
      { requiredKeys: [] },
    ),
    runtimeConfig: fc.record(
      {
        portMappings: fc.array(port, { maxLength: 3 }),
        bandwidth: shaping,
        dns: mostly<unknown>(fc.constant({ servers: ['10.96.0.10'], searches: ['a.b'] }), fc.constant({ servers: 7 })),
        mac: mostly(fc.constant('02:00:00:00:00:07'), fc.constantFrom('01:00:00:00:00:07', 'x')),
      },
      { requiredKeys: [] },
    ),
    shaping: fc.option(shaping, { nil: {}, freq: 4 }),
    args: fc.constantFrom(
      undefined,
      'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0',
      'IgnoreUnknown=1;MAC=02:00:00:00:00:09',
    ),
    keepsResult: fc.boolean(),
  })
  .map(({ verbs, cniVersion, mode, wish, masquerade, runtimeConfig, shaping, args, keepsResult }) => ({
    verbs,
    configuration: {
      cniVersion,
      ...mode,
      ...masquerade,
      ...shaping,
      ...(wish.args === undefined ? {} : { args: wish.args }),
      ipam: { type: 'tulle-ipam', pool: wish.pool },
      runtimeConfig: { ...runtimeConfig, ...wish.runtimeConfig },
    },
    env: { CNI_ARGS: args },
    keepsResult,
  }))

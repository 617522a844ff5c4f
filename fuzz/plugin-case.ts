/** One run of the plugin, as data: what a corpus keeps, and what is printed when something is wrong. */
export interface PluginCase {
  /** Whether a pod is attached already when the case begins. */
  readonly isAttached: boolean
  /** The whole environment, CNI_COMMAND included. */
  readonly env: Readonly<Record<string, string>>
  readonly stdin: string
  /** What a delegated IPAM plugin prints for ADD; a good result when absent. */
  readonly ipamStdout?: string
}

/** The containers, the namespace and the network that cases start from before anything is wrong with them. */
export const CONTAINER = 'c1'
export const NETWORK = 'net1'
export const NETNS = '/run/netns/pod'

export const GOOD_ENV = {
  CNI_CONTAINERID: CONTAINER,
  CNI_NETNS: NETNS,
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;K8S_POD_UID=u1',
} as const

/** A JSON value of a case. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }

const TULLE = { type: 'tulle', ipam: { type: 'tulle-ipam' } }

/** Configurations that are good: each is the beginning of cases in which something is not. */
export const GOOD_CONFIGURATIONS: readonly { readonly [key: string]: Json }[] = [
  TULLE,
  { ...TULLE, mode: 'transparent', mtu: 1450, ipsToRouteViaHost: ['169.254.20.10', 'fd00::a'] },
  { ...TULLE, mode: 'bridge', isDefaultGateway: true, hairpinMode: true, macspoofchk: true, bridge: 'br0' },
  { ...TULLE, mode: 'bridge', forceAddress: true, isGateway: true, portIsolation: true, promiscMode: true },
  { ...TULLE, ipam: { type: 'host-local', ranges: [[{ subnet: '10.9.0.0/24' }]] } },
  { ...TULLE, mode: 'bridge', ipam: { type: 'host-local', routes: [{ dst: '0.0.0.0/0', gw: '10.9.0.1' }] } },
  {
    ...TULLE,
    dns: { nameservers: ['10.96.0.10'], domain: 'x', search: ['y'], options: ['ndots:5'] },
    runtimeConfig: { dns: { servers: ['10.96.0.10'], searches: ['z'] }, mac: '02:00:00:00:00:77' },
    args: { cni: { labels: [{ key: 'a', value: 'b' }], mac: '02:00:00:00:00:78' } },
  },
  { ...TULLE, 'cni.dev/valid-attachments': [{ containerID: CONTAINER, ifname: 'eth0' }], 'cni.dev/attachments': [] },
]

/** Results that are good, to stand as prevResult and as the answer of an IPAM plugin. */
export const GOOD_RESULTS: readonly { readonly [key: string]: Json }[] = [
  { cniVersion: '1.1.0', ips: [{ address: '10.9.0.7/24', gateway: '10.9.0.1' }], routes: [{ dst: '0.0.0.0/0' }] },
  {
    cniVersion: '1.0.0',
    interfaces: [
      { name: 'tul0', mac: '02:00:00:00:00:01' },
      { name: 'eth0', mac: '02:00:00:00:00:02', sandbox: NETNS },
    ],
    ips: [
      { address: '10.244.1.2/32', gateway: '169.254.1.1', interface: 1 },
      { address: 'fd00:10:244:1::2/128', gateway: 'fe80::1', interface: 1 },
    ],
    routes: [{ dst: '0.0.0.0/0', gw: '169.254.1.1', priority: 5 }],
    dns: { nameservers: ['10.96.0.10'] },
  },
  { cniVersion: '0.2.0', ip4: { ip: '10.9.0.7/24', gateway: '10.9.0.1', routes: [{ dst: '0.0.0.0/0' }] }, dns: {} },
]

import type { JsonObject } from './json.ts'
import type { Scene } from './same-answer.ts'
import { HOST_IPV4 } from './tulle-node.ts'

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
  { name: 'wide', prefixes: ['10.244.16.0/28', 'fd00:10:24f::/124'], cooldownSeconds: 0 },
]

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

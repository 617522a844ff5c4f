/** The addresses of the cluster: two networks of nodes, one of the world outside, a router between the three. */

/** Pods of all nodes; the controller manager gives each node a /24 and a /64. */
export const POD_PREFIXES = ['10.244.0.0/16', 'fd00:10:244::/56'] as const
export const SERVICE_PREFIXES = ['10.96.0.0/16', 'fd00:10:96::/112'] as const
/** The API server as a service: the first address of the first prefix. */
export const API_SERVICE_ADDRESS = '10.96.0.1'
export const DNS_SERVICE_ADDRESSES = ['10.96.0.10', 'fd00:10:96::a'] as const

export interface Lan {
  /** Name of the bridge on the router. */
  readonly bridge: string
  readonly router4: string
  readonly router6: string
}

export interface NodeSpec {
  readonly name: string
  readonly lan: Lan
  readonly address4: string
  readonly address6: string
}

const LANS = {
  a: { bridge: 'lan-a', router4: '172.30.0.1', router6: 'fd00:30::1' },
  b: { bridge: 'lan-b', router4: '172.30.1.1', router6: 'fd00:30:1::1' },
} as const

export const OUTSIDE = {
  lan: { bridge: 'outside', router4: '203.0.113.1', router6: '2001:db8:113::1' },
  address4: '203.0.113.10',
  address6: '2001:db8:113::10',
} as const

/**
 * Node number `index`, from 1. The third one lives on another link than the others: routes to it need a router or a tunnel,
 * routes among the others do not.
 */
export function nodeSpec(index: number): NodeSpec {
  const lan = index === 3 ? LANS.b : LANS.a
  const host = 10 + index
  return {
    name: `n${index}`,
    lan,
    address4: lan.router4.replace(/\.1$/, `.${host}`),
    address6: lan.router6.replace(/::1$/, `::${host}`),
  }
}

/** ip(8) batch that makes the router. It knows the three links and no pod, as routers between nodes do. */
export function routerBatch(): string {
  return [LANS.a, LANS.b, OUTSIDE.lan]
    .flatMap(({ bridge, router4, router6 }) => [
      `link add ${bridge} type bridge forward_delay 0`,
      `address add ${router4}/24 dev ${bridge}`,
      `address add ${router6}/64 dev ${bridge} nodad`,
      `link set ${bridge} up`,
    ])
    .concat('link set lo up', '')
    .join('\n')
}

/** ip(8) batch, for the router, that plugs `name` into a link: its eth0 appears in the namespace of process `pid`. */
export function cableBatch(name: string, lan: Lan, pid: number): string {
  return [
    `link add v-${name} type veth peer name eth0 netns /proc/${pid}/ns/net`,
    `link set v-${name} master ${lan.bridge} up`,
    '',
  ].join('\n')
}

/** ip(8) batch for the host at the other end of the cable. */
export function hostBatch({ lan, address4, address6 }: Pick<NodeSpec, 'lan' | 'address4' | 'address6'>): string {
  return [
    'link set lo up',
    // Nobody waits for duplicate address detection: these addresses are ours alone.
    `address add ${address4}/24 dev eth0`,
    `address add ${address6}/64 dev eth0 nodad`,
    'link set eth0 up',
    `route add default via ${lan.router4}`,
    `route add default via ${lan.router6}`,
    '',
  ].join('\n')
}

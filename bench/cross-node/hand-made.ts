import { addressesOfPlan, bridgeOf } from '../../e2e/netns/harness/cluster.ts'
import { Netns } from '../../e2e/netns/harness/namespace.ts'
import type { Command } from '../../e2e/parts/command.ts'

export type Mode = 'direct' | 'vxlan'

const GATEWAY = '169.254.1.1'
const UPLINK_MTU = 1500
/** Outer Ethernet, IP, UDP and VXLAN headers (RFC 7348, section 5). */
const VXLAN_BYTES = 50
/** Of the nodes on their network: none of a cluster's. */
const HOSTS = [101, 102] as const

/** A pod at each of two nodes. */
export interface PodPair extends AsyncDisposable {
  readonly from: Netns
  readonly to: Netns
  /** Of `to`. */
  readonly address: string
}

/**
 * Two nodes with a pod each, made by ip(8) and nothing else, on the network of a cluster's nodes: routed pods, and routes to the
 * other node, or a VXLAN device with permanent entries. What Tulle makes, without its rules.
 */
export async function makeByHand(mode: Mode, network: number): Promise<PodPair> {
  await using undo = new AsyncDisposableStack()
  const mtu = UPLINK_MTU - (mode === 'vxlan' ? VXLAN_BYTES : 0)
  const pods: Netns[] = []
  for (const [index, host] of HOSTS.entries()) {
    const other = 1 - index
    const node = undo.use(await Netns.create('hand', { isLoopbackUp: true }))
    const port = `hand-${network}-${index}`
    const own = Netns.own()
    await own.run(['ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', node.iproute2Name])
    // Deleted by name: the kernel takes a namespace apart when it likes.
    undo.defer(async () => void (await own.execute(['ip', 'link', 'delete', port])))
    await own.run(['ip', 'link', 'set', port, 'master', bridgeOf(network), 'up'])
    const [address] = addressesOfPlan({ network, host })
    await ip(node, `address add ${address}/24 dev eth0`, 'link set eth0 up')
    await node.writeSysctl('net/ipv4/ip_forward', '1')
    pods.push(undo.use(await makePod(node, index, mtu)))
    const [remote] = addressesOfPlan({ network, host: HOSTS[other] ?? host })
    await ip(node, ...(mode === 'direct' ? routes(other, remote) : tunnel({ index, other, address, remote, mtu })))
  }
  const [from, to] = pods
  if (from === undefined || to === undefined) throw new Error('want two pods')
  const kept = undo.move()
  return { from, to, address: podAddress(1), [Symbol.asyncDispose]: async () => await kept.disposeAsync() }
}

async function makePod(node: Netns, index: number, mtu: number): Promise<Netns> {
  const pod = await Netns.create('hand-pod', { isLoopbackUp: true })
  const [host, inside] = [macOf('01', index), macOf('02', index)]
  await ip(
    node,
    `link add pod address ${host} mtu ${mtu} type veth peer name eth0 address ${inside} mtu ${mtu} netns ${pod.iproute2Name}`,
    'link set pod up',
  )
  await ip(
    pod,
    'link set eth0 up',
    `address add ${podAddress(index)}/32 dev eth0`,
    `neighbour add ${GATEWAY} lladdr ${host} dev eth0 nud permanent`,
    `route add ${GATEWAY} dev eth0 scope link`,
    `route add default via ${GATEWAY} dev eth0`,
  )
  await ip(
    node,
    `neighbour add ${podAddress(index)} lladdr ${inside} dev pod nud permanent`,
    `route add ${podAddress(index)} dev pod scope link`,
  )
  return pod
}

function routes(other: number, remote: string): readonly string[] {
  return [`route add ${podPrefix(other)} via ${remote}`]
}

interface Tunnel {
  readonly index: number
  readonly other: number
  readonly address: string
  readonly remote: string
  readonly mtu: number
}

function tunnel({ index, other, address, remote, mtu }: Tunnel): readonly string[] {
  const next = podPrefix(other).replace('/24', '')
  return [
    `link add vx address ${macOf('03', index)} mtu ${mtu} type vxlan id 7 local ${address} dstport 4789 nolearning`,
    'link set vx up',
    `neighbour add ${next} lladdr ${macOf('03', other)} dev vx nud permanent`,
    `route add ${podPrefix(other)} via ${next} dev vx onlink`,
    `fdb ${macOf('03', other)} ${remote}`,
  ]
}

/** Runs lines of ip(8); one that begins with `fdb` is an entry of the VXLAN device, which bridge(8) makes. */
async function ip(netns: Netns, ...lines: readonly string[]): Promise<void> {
  for (const line of lines) {
    const [first = '', mac = '', remote = ''] = line.split(' ')
    const command: Command =
      first === 'fdb'
        ? ['bridge', 'fdb', 'append', mac, 'dev', 'vx', 'dst', remote, 'self', 'permanent']
        : ['ip', ...line.split(' ')]
    await netns.run(command)
  }
}

function podPrefix(index: number): string {
  return `10.99.${index}.0/24`
}

function podAddress(index: number): string {
  return `10.99.${index}.2`
}

function macOf(kind: string, index: number): string {
  return `02:00:00:00:${kind}:0${index}`
}

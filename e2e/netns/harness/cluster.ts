import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { FakeApiServer, nodeObject } from '../../kube/api-server.ts'
import { Background } from './background.ts'
import { addAddresses } from './connect.ts'
import { Ipamd } from './ipamd.ts'
import { invokePlugin } from './invoke.ts'
import type { JsonObject } from './json.ts'
import { Netns } from './namespace.ts'
import { newAttachment } from './runtime.ts'
import { addressesOf } from './tulle-node.ts'
import { BIN_FOLDER } from './tulle.ts'

/** The link of every node, at its end. */
const UPLINK = 'eth0'

export interface NodePlan {
  readonly name: string
  /** Which of the networks between nodes it is on, from 0: nodes on one network are on the same link. */
  readonly network: number
  /** The last part of its addresses. */
  readonly host: number
  readonly podCidrs: readonly string[]
}

export interface ClusterOptions {
  /** Further keys of the agents' configuration. */
  readonly agent?: JsonObject
}

/**
 * Nodes in namespaces of their own, each with a real ipamd and a real agent, on networks that this process routes between, and
 * a fake API server in this process.
 */
export class Cluster implements AsyncDisposable {
  readonly api: FakeApiServer
  readonly folder: string
  readonly nodes = new Map<string, ClusterNode>()
  readonly #options: ClusterOptions
  readonly #bridges = new Set<number>()

  private constructor(api: FakeApiServer, folder: string, options: ClusterOptions) {
    this.api = api
    this.folder = folder
    this.#options = options
  }

  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const own = Netns.own()
    await own.run(['ip', 'link', 'set', 'lo', 'up'])
    for (const key of ['net/ipv4/ip_forward', 'net/ipv6/conf/all/forwarding']) await own.writeSysctl(key, '1')
    const api = await FakeApiServer.start('::')
    return new Cluster(api, await mkdtemp(join(tmpdir(), 'tulle-cluster-')), options)
  }

  /** Makes a node's namespace and its Node object, and starts ipamd and the agent there. */
  async add(plan: NodePlan): Promise<ClusterNode> {
    const node = await this.prepare(plan)
    await node.startAgent(this.agentConfig(plan))
    return node
  }

  /** As add(), without the agent. */
  async prepare(plan: NodePlan): Promise<ClusterNode> {
    await this.#ensureBridge(plan.network)
    const netns = await Netns.create(plan.name, { isLoopbackUp: true })
    const node = new ClusterNode(plan, netns, join(this.folder, plan.name))
    this.nodes.set(plan.name, node)
    await plug(netns, plan)
    this.register(plan)
    await node.startIpamd()
    return node
  }

  register(plan: NodePlan): void {
    this.api.put(nodeObject(plan.name, { podCidrs: plan.podCidrs, ips: addressesOfPlan(plan) }))
  }

  agentConfig(plan: NodePlan, more: JsonObject = {}): JsonObject {
    return {
      node: plan.name,
      kube: { server: `http://${gatewayOf(plan.network)[0]}:${new URL(this.api.url).port}` },
      listen: { address: '127.0.0.1', port: 9477 },
      ...this.#options.agent,
      ...more,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const node of this.nodes.values()) await node[Symbol.asyncDispose]()
    await this.api[Symbol.asyncDispose]()
    for (const network of this.#bridges) await Netns.own().execute(['ip', 'link', 'delete', bridgeOf(network)])
    await rm(this.folder, { recursive: true })
  }

  async #ensureBridge(network: number): Promise<void> {
    if (this.#bridges.has(network)) return
    this.#bridges.add(network)
    const own = Netns.own()
    await own.run(['ip', 'link', 'add', bridgeOf(network), 'type', 'bridge'])
    await addAddresses(own, {
      ifName: bridgeOf(network),
      addresses: gatewayOf(network).map(address => `${address}${address.includes(':') ? '/64' : '/24'}`),
    })
    await own.run(['ip', 'link', 'set', bridgeOf(network), 'up'])
  }
}

/** One node of the cluster. */
export class ClusterNode implements AsyncDisposable {
  readonly plan: NodePlan
  readonly netns: Netns
  readonly #folder: string
  #ipamd: Ipamd | undefined
  #agent: Background | undefined
  readonly #pods: Netns[] = []

  constructor(plan: NodePlan, netns: Netns, folder: string) {
    this.plan = plan
    this.netns = netns
    this.#folder = folder
  }

  get socketPath(): string {
    return join(this.#folder, 'run', 'ipamd.sock')
  }

  get agent(): Background {
    if (this.#agent === undefined) throw new Error(`${this.plan.name}: the agent does not run`)
    return this.#agent
  }

  get ipamd(): Ipamd {
    if (this.#ipamd === undefined) throw new Error(`${this.plan.name}: ipamd does not run`)
    return this.#ipamd
  }

  async startIpamd(): Promise<void> {
    await mkdir(this.#folder, { recursive: true })
    this.#ipamd = await Ipamd.start({
      executable: join(BIN_FOLDER, 'ipamd'),
      netns: this.netns,
      configFile: join(this.#folder, 'ipamd.json'),
      config: {
        socket: this.socketPath,
        stateDir: join(this.#folder, 'state'),
        pools: [{ name: 'default', blockSource: { type: 'kubernetes' } }],
      },
    })
  }

  async startAgent(config: JsonObject): Promise<void> {
    const configFile = join(this.#folder, 'agent.json')
    await writeFile(configFile, JSON.stringify({ ...config, ipamd: { socket: this.socketPath } }))
    const command = this.netns.command([join(BIN_FOLDER, 'tulle-agent'), '--config', configFile])
    this.#agent = Background.start(command)
  }

  async stopAgent(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    await this.#agent?.stop(signal)
    this.#agent = undefined
  }

  async stopIpamd(): Promise<void> {
    await this.#ipamd?.stop()
    this.#ipamd = undefined
  }

  /** Waits until the agent says that this node is ready. */
  async untilReady(): Promise<void> {
    await this.agent.until(`${this.plan.name} is ready`, async () => (await this.ask('/readyz')).status === 200)
  }

  /** Asks the agent over HTTP, in the node's namespace. Status 0 when it does not answer. */
  async ask(path: string): Promise<{ readonly status: number; readonly body: string }> {
    const outcome = await this.netns.execute([
      'curl',
      '-sS',
      '-m',
      '5',
      '-w',
      '\n%{http_code}',
      `http://127.0.0.1:9477${path}`,
    ])
    const end = outcome.stdout.lastIndexOf('\n')
    return { status: Number(outcome.stdout.slice(end + 1)) || 0, body: outcome.stdout.slice(0, end) }
  }

  /** Attaches a pod with the real plugin. @param more further keys of its configuration. */
  async attach(more: JsonObject = {}): Promise<ClusterPod> {
    const netns = await Netns.create('pod')
    this.#pods.push(netns)
    const { containerId, ifName } = newAttachment(netns)
    const outcome = await invokePlugin({
      executable: join(BIN_FOLDER, 'tulle'),
      netns: this.netns,
      env: {
        CNI_COMMAND: 'ADD',
        CNI_CONTAINERID: containerId,
        CNI_NETNS: netns.path,
        CNI_IFNAME: ifName,
        CNI_PATH: BIN_FOLDER,
        PATH: process.env['PATH'] ?? '',
      },
      stdin: JSON.stringify({
        cniVersion: '1.1.0',
        name: 'pods',
        type: 'tulle',
        ipam: { type: 'tulle-ipam', socket: this.socketPath },
        ...more,
      }),
    })
    if (outcome.exitCode !== 0) throw new Error(`ADD on ${this.plan.name}: ${outcome.stdout} ${outcome.stderr}`)
    const addresses = addressesOf(outcome.json)
    return {
      netns,
      ipv4: addresses.find(address => address.includes('.')) ?? '',
      ipv6: addresses.find(address => address.includes(':')) ?? '',
    }
  }

  async routes(family: '-4' | '-6' = '-4'): Promise<readonly string[]> {
    const outcome = await this.netns.run(['ip', family, 'route', 'show', 'proto', '118'])
    return outcome
      .split('\n')
      .map(line => line.trim())
      .filter(line => line !== '')
      .toSorted()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopAgent('SIGKILL')
    await this.#ipamd?.kill()
    this.#ipamd = undefined
    for (const pod of this.#pods) await pod.delete()
    // The kernel takes a namespace apart when it likes: the cable must be gone before the next node has its name.
    await Netns.own().execute(['ip', 'link', 'delete', portOf(this.plan)])
    await this.netns.delete()
  }
}

export interface ClusterPod {
  readonly netns: Netns
  readonly ipv4: string
  readonly ipv6: string
}

/** 192.0.2.0/24 and 198.51.100.0/24 are for documentation: RFC 5737. */
const NETWORKS = [
  { ipv4: '192.0.2', ipv6: '2001:db8:0' },
  { ipv4: '198.51.100', ipv6: '2001:db8:1' },
] as const

function networkOf(network: number): (typeof NETWORKS)[number] {
  const found = NETWORKS[network]
  if (found === undefined) throw new Error(`no network ${network}`)
  return found
}

export function addressesOfPlan({ network, host }: Pick<NodePlan, 'network' | 'host'>): readonly [string, string] {
  const { ipv4, ipv6 } = networkOf(network)
  return [`${ipv4}.${host}`, `${ipv6}::${host}`]
}

function gatewayOf(network: number): readonly [string, string] {
  return addressesOfPlan({ network, host: 254 })
}

/** The bridge in this process's namespace that is the link between the nodes of a network. */
export function bridgeOf(network: number): string {
  return `br-nodes${network}`
}

/** This end of the cable of a node. */
function portOf({ name }: NodePlan): string {
  return `p-${name}`.slice(0, 15)
}

/** Plugs a node into its network: its end of the cable is UPLINK, with default routes to this process. */
async function plug(netns: Netns, plan: NodePlan): Promise<void> {
  const own = Netns.own()
  const port = portOf(plan)
  await own.run(['ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', UPLINK, 'netns', netns.iproute2Name])
  await own.run(['ip', 'link', 'set', port, 'master', bridgeOf(plan.network), 'up'])
  const [ipv4, ipv6] = addressesOfPlan(plan)
  await addAddresses(netns, { ifName: UPLINK, addresses: [`${ipv4}/24`, `${ipv6}/64`] })
  await netns.run(['ip', 'link', 'set', UPLINK, 'up'])
  const [gateway4, gateway6] = gatewayOf(plan.network)
  await netns.run(['ip', 'route', 'add', 'default', 'via', gateway4])
  await netns.run(['ip', '-6', 'route', 'add', 'default', 'via', gateway6, 'dev', UPLINK])
}

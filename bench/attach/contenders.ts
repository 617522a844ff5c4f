import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { JsonObject } from '../../e2e/netns/harness/json.ts'
import { BIN_FOLDER } from '../../e2e/netns/harness/tulle.ts'
import { goTool } from '../../e2e/parts/go.ts'
import { linkIptables } from '../../e2e/parts/iptables.ts'
import { CHAINS, FLOOR, TRUE, TULLE_BRIDGE, type ContenderName } from '../report/contenders.ts'

/** The reference plugins, and the last release of the module that has flannel's among them. */
const PLUGINS = { module: 'github.com/containernetworking/plugins', version: 'v1.9.1' } as const
const FLANNEL = { module: 'github.com/containernetworking/plugins', version: 'v0.9.1' } as const
const PEERS = ['main/bridge', 'main/ptp', 'ipam/host-local', 'meta/portmap', 'meta/firewall', 'meta/bandwidth'] as const

/** A chain of plugins, and all that it needs of its node. */
export interface Chain {
  readonly cniVersion: string
  readonly plugins: readonly JsonObject[]
  readonly cniPath: readonly string[]
  readonly env: Readonly<Record<string, string>>
  /** Whether an ipamd runs on the node. */
  readonly hasIpamd: boolean
}

/** What takes part. Each has a node of its own, so that the rules of one are not in the way of another. */
export interface Contender {
  readonly name: ContenderName
  /** Absent: what the name says, without a plugin. */
  readonly chain?: Chain
}

/** What was compared, for the record. */
export const VERSIONS = [
  `kindnet chain: ptp, host-local, portmap ${PLUGINS.version} (the plugins and options that kindnet's conflist has)`,
  `flannel chain: flannel ${FLANNEL.version}, bridge, host-local, portmap ${PLUGINS.version} (kubenet's, without flannel)`,
  `bridge chain: bridge with ipMasq, host-local, portmap, firewall, bandwidth ${PLUGINS.version}`,
] as const

/**
 * What a node can have: Tulle served and direct, and the chains of kindnet, flannel and the reference bridge, with their
 * plugins compiled from source at one version; and what they are held against. Everything that they write is in `folder`, on the
 * disk that ipamd's store is on.
 *
 * @throws {GoMissing} on a machine that cannot compile them.
 */
export async function openContenders(folder: string): Promise<readonly Contender[]> {
  const peers = await buildPeers(join(folder, 'peers'))
  const links = join(folder, 'iptables-bin')
  await mkdir(links)
  const env = { ...(await linkIptables(links)), PATH: `${links}:${process.env['PATH'] ?? ''}` }
  const subnetFile = join(folder, 'subnet.env')
  const subnet = ['FLANNEL_NETWORK=10.244.0.0/16', 'FLANNEL_SUBNET=10.244.0.1/16', 'FLANNEL_MTU=1500']
  await writeFile(subnetFile, `${[...subnet, 'FLANNEL_IPMASQ=false'].join('\n')}\n`)
  const open = (name: ContenderName, plugins: readonly JsonObject[], more: Partial<Chain> = {}): Contender => ({
    name,
    chain: { cniVersion: '1.1.0', plugins, cniPath: [BIN_FOLDER, peers], env, hasIpamd: false, ...more },
  })
  const tulle = (type: string, more: JsonObject = {}): readonly JsonObject[] => [
    { type, capabilities: { portMappings: true }, ipam: { type: 'tulle-ipam' }, ...more },
  ]
  const portmap = { type: 'portmap', capabilities: { portMappings: true } }
  const hostLocal = (of: string): JsonObject => ({
    type: 'host-local',
    ranges: [[{ subnet: '10.244.0.0/16' }]],
    dataDir: join(folder, `host-local-${of}`),
  })
  const gateway = { mode: 'bridge', isDefaultGateway: true }
  return [
    open(CHAINS[0], tulle('tulle'), { hasIpamd: true }),
    open(CHAINS[1], tulle('tulle-node'), { hasIpamd: true }),
    open(CHAINS[2], [{ type: 'ptp', ipam: { ...hostLocal('ptp'), routes: [{ dst: '0.0.0.0/0' }] } }, portmap]),
    open(CHAINS[3], [flannel(folder, subnetFile), portmap], { cniVersion: '0.4.0' }),
    open(CHAINS[4], [
      { type: 'bridge', bridge: 'cni0', isDefaultGateway: true, ipMasq: true, ipam: hostLocal('bridge') },
      portmap,
      { type: 'firewall' },
      { type: 'bandwidth', capabilities: { bandwidth: true } },
    ]),
    { name: FLOOR },
    { name: TRUE },
    open(TULLE_BRIDGE, tulle('tulle', gateway), { hasIpamd: true }),
  ]
}

function flannel(folder: string, subnetFile: string): JsonObject {
  const delegate = { bridge: 'cni0', hairpinMode: true, isDefaultGateway: true }
  const ipam = { dataDir: join(folder, 'host-local-flannel') }
  return { type: 'flannel', subnetFile, dataDir: join(folder, 'flannel'), ipam, delegate }
}

async function buildPeers(folder: string): Promise<string> {
  await mkdir(folder)
  const packages = [
    ...PEERS.map(name => ({ packagePath: `${PLUGINS.module}/plugins/${name}`, version: PLUGINS.version })),
    { packagePath: `${FLANNEL.module}/plugins/meta/flannel`, version: FLANNEL.version },
  ]
  for (const tool of packages) {
    const executable = await goTool(tool)
    await copyFile(executable, join(folder, tool.packagePath.replace(/.*\//, '')))
  }
  return folder
}

import { copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { JsonObject } from '../e2e/netns/harness/json.ts'
import { CniRuntime } from '../e2e/netns/harness/runtime.ts'
import { BIN_FOLDER } from '../e2e/netns/harness/tulle.ts'
import { goTool } from '../e2e/parts/go.ts'
import { linkIptables } from '../e2e/parts/iptables.ts'

/** The reference plugins, and the last release of the module that has flannel's among them. */
const PLUGINS = { module: 'github.com/containernetworking/plugins', version: 'v1.9.1' } as const
const FLANNEL = { module: 'github.com/containernetworking/plugins', version: 'v0.9.1' } as const
const PEERS = ['main/bridge', 'main/ptp', 'ipam/host-local', 'meta/portmap', 'meta/firewall', 'meta/bandwidth'] as const

/** A chain of plugins that takes part in a measurement. */
export interface Contender {
  readonly name: string
  readonly runtime: CniRuntime
}

/**
 * What a node can have: Tulle served and direct, and the chains of kindnet, flannel and the reference bridge, with their
 * plugins compiled from source at one version. Everything that they write is in `folder`.
 *
 * @throws {GoMissing} on a machine that cannot compile them.
 */
export async function openContenders(folder: string): Promise<readonly Contender[]> {
  const peers = await buildPeers(join(folder, 'peers'))
  const links = join(folder, 'iptables-bin')
  await mkdir(links)
  const env = { ...(await linkIptables(links)), PATH: `${links}:${process.env['PATH'] ?? ''}` }
  const subnetFile = join(folder, 'subnet.env')
  const subnet = ['FLANNEL_NETWORK=10.246.0.0/16', 'FLANNEL_SUBNET=10.246.0.1/16', 'FLANNEL_MTU=1500']
  await writeFile(subnetFile, `${[...subnet, 'FLANNEL_IPMASQ=false'].join('\n')}\n`)
  const hostLocal = (range: string): JsonObject => ({
    type: 'host-local',
    ranges: [[{ subnet: range }]],
    dataDir: join(folder, 'host-local'),
  })
  const routes = [{ dst: '0.0.0.0/0' }]
  const portmap = { type: 'portmap', capabilities: { portMappings: true } }
  const open = (name: string, plugins: readonly JsonObject[], cniVersion = '1.1.0'): Contender => ({
    name,
    runtime: new CniRuntime({
      conflist: { cniVersion, name: name.replace(/\W+/g, '-'), plugins },
      cniPath: [BIN_FOLDER, peers],
      env,
    }),
  })
  const own = { capabilities: { portMappings: true }, ipam: { type: 'tulle-ipam' } }
  return [
    open('tulle, served', [{ type: 'tulle', ...own }]),
    open('tulle, direct', [{ type: 'tulle-node', ...own }]),
    open('kindnet chain', [{ type: 'ptp', ipam: { ...hostLocal('10.245.0.0/16'), routes } }, portmap]),
    open('flannel chain', [flannel(folder, subnetFile), portmap], '0.4.0'),
    open('bridge chain', [
      { type: 'bridge', bridge: 'cni0', isDefaultGateway: true, ipMasq: true, ipam: hostLocal('10.247.0.0/16') },
      portmap,
      { type: 'firewall' },
      { type: 'bandwidth', capabilities: { bandwidth: true } },
    ]),
  ]
}

function flannel(folder: string, subnetFile: string): JsonObject {
  const delegate = { bridge: 'cni1', hairpinMode: true, isDefaultGateway: true }
  const ipam = { dataDir: join(folder, 'flannel-host-local') }
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

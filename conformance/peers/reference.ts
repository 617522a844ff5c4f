import { copyFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { goTool } from '../../e2e/parts/go.ts'
import type { JsonObject } from '../../e2e/netns/harness/json.ts'
import type { Subject } from '../subject.ts'
import type { Peer } from './peer.ts'

const MODULE = 'github.com/containernetworking/plugins'
const VERSION = 'v1.9.1'

/**
 * The last version of flannel's plugin from where it lived before it got a repository of its own: the Go module proxy refuses
 * flannel-io/cni-plugin (403, "not available").
 */
const FLANNEL = { packagePath: `${MODULE}/plugins/meta/flannel`, version: 'v0.9.1' }

/** Every reference plugin that a network or a chain needs, by its folder in the module. */
const PLUGINS = [
  'main/ptp',
  'main/bridge',
  'main/macvlan',
  'main/loopback',
  'ipam/host-local',
  'meta/tuning',
  'meta/portmap',
  'meta/bandwidth',
  'meta/sbr',
]

/** Two ranges are one address of each family. */
const RANGES = [[{ subnet: '10.88.0.0/22' }], [{ subnet: 'fd00:10:88::/64' }]]

/** Network, gateway and broadcast address of a /29 are for no pod. */
const SMALL = { ranges: [[{ subnet: '10.89.0.0/29' }]], addresses: 5 } as const

const ROUTES = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]

/** What host-local can do for whoever it gives addresses. */
const CAPABILITIES = { ips: true }

/** Where the plugins find the programs of the system. */
export const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

/** An interface of the node that a macvlan can hang on. */
const UPLINK = 'ip link add uplink0 up type veth peer name outside0 && ip link set outside0 up'

export const REFERENCE_PEERS: readonly Peer[] = [
  reference('ptp', { keys: { ipMasq: true, capabilities: CAPABILITIES } }),
  reference('bridge', {
    keys: { bridge: 'cni0', isGateway: true, ipMasq: true, capabilities: { ...CAPABILITIES, mac: true } },
    // It takes addresses of one subnet on one bridge, whose gateway the bridge is.
    smallKeys: { bridge: 'cni1' },
  }),
  reference('macvlan', { keys: { master: 'uplink0', capabilities: CAPABILITIES }, setup: UPLINK }),
  {
    title: 'loopback',
    version: `${MODULE} ${VERSION}: loopback`,
    subject: async folder => ({
      ...(await common(folder, 'loopback')),
      conflist: { cniVersion: '1.1.0', name: 'lo', plugins: [{ type: 'loopback' }] },
      ifName: 'lo',
    }),
  },
  {
    title: 'flannel',
    version: `${MODULE} ${FLANNEL.version}: flannel, over bridge and host-local ${VERSION}. The last release from there (2021); the newer github.com/flannel-io/cni-plugin is refused by the Go module proxy (403), so nothing is said of it here`,
    async subject(folder) {
      const subject = await common(folder, 'flannel')
      await copyFile(await goTool(FLANNEL), join(subject.cniPath[0] ?? '', 'flannel'))
      const delegate = { isDefaultGateway: true, bridge: 'cni0' }
      const plugin = { type: 'flannel', dataDir: '/var/lib/cni/flannel', delegate }
      const subnet = [
        'FLANNEL_NETWORK=10.88.0.0/16',
        'FLANNEL_SUBNET=10.88.4.1/22',
        'FLANNEL_MTU=1450',
        'FLANNEL_IPMASQ=true',
      ]
      return {
        ...subject,
        // It knows versions up to 0.4.0.
        conflist: { cniVersion: '0.4.0', name: 'pods', plugins: [plugin] },
        families: ['ipv4'],
        setup: `mkdir -p /run/flannel && printf '${subnet.map(line => String.raw`${line}\n`).join('')}' > /run/flannel/subnet.env`,
      }
    },
  },
]

interface Options {
  /** Of the plugin configuration object. */
  readonly keys: JsonObject
  /** What is different in the small network. */
  readonly smallKeys?: JsonObject
  readonly setup?: string
}

/** A plugin of the reference distribution, with host-local for its addresses. */
function reference(type: string, { keys, smallKeys = {}, setup }: Options): Peer {
  function network(name: string, ranges: readonly object[], others: JsonObject = {}): JsonObject {
    const ipam = { type: 'host-local', ranges, routes: ROUTES.slice(0, ranges.length) }
    return { cniVersion: '1.1.0', name, plugins: [{ type, ...keys, ...others, ipam }] }
  }
  return {
    title: type,
    version: `${MODULE} ${VERSION}: ${type}, host-local`,
    subject: async folder => ({
      ...(await common(folder, type)),
      conflist: network('pods', RANGES),
      families: ['ipv4', 'ipv6'],
      exhaustible: { conflist: network('small', SMALL.ranges, smallKeys), addresses: SMALL.addresses },
      ...(setup === undefined ? {} : { setup }),
    }),
  }
}

/** What all of them share: the executables in one folder, and host-local's state. */
async function common(folder: string, name: string): Promise<Omit<Subject, 'conflist'>> {
  const bin = await referenceFolder(folder, name)
  return {
    name,
    cniPath: [bin],
    env: { PATH: SYSTEM_PATH },
    stateFolders: ['/var/lib/cni'],
    referencePath: [bin],
  }
}

/** A folder below `folder` with all the reference plugins, for CNI_PATH. */
export async function referenceFolder(folder: string, name: string): Promise<string> {
  const bin = join(folder, `${name}-bin`)
  await mkdir(bin)
  for (const plugin of PLUGINS) {
    const executable = await goTool({ packagePath: `${MODULE}/plugins/${plugin}`, version: VERSION })
    await copyFile(executable, join(bin, plugin.slice(plugin.indexOf('/') + 1)))
  }
  return bin
}

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { JsonObject } from '../../e2e/netns/harness/json.ts'
import { BIN_FOLDER, RUN_FOLDER } from '../../e2e/netns/harness/tulle.ts'
import type { Family, Subject } from '../subject.ts'

/** One way to configure Tulle. */
export interface Variant {
  readonly name: string
  readonly families: readonly Family[]
  /** Further keys of the plugin configuration object. */
  readonly plugin: JsonObject
  /** What the plugin is given beside PATH. */
  readonly env?: Readonly<Record<string, string>>
}

const FAMILIES: Readonly<Record<string, readonly Family[]>> = {
  'dual stack': ['ipv4', 'ipv6'],
  IPv4: ['ipv4'],
  IPv6: ['ipv6'],
}

const MODES: Readonly<Record<string, JsonObject>> = {
  transparent: { mode: 'transparent' },
  bridge: { mode: 'bridge', isDefaultGateway: true },
}

/** Every mode with every set of address families, served by ipamd; and both modes without the daemon's help. */
export const VARIANTS: readonly Variant[] = Object.entries(MODES).flatMap(([mode, plugin]) => [
  ...Object.entries(FAMILIES).map(([word, families]) => ({ name: `${mode}, ${word}`, families, plugin })),
  // The launcher finds nobody at that socket, and executes the plugin; it leases from ipamd where its configuration says.
  {
    name: `${mode}, direct`,
    families: ['ipv4', 'ipv6'] as const,
    plugin,
    env: { TULLE_IPAMD_SOCKET: '/run/nobody/ipamd.sock' },
  },
])

const PREFIXES = { ipv4: '10.244.0.0/16', ipv6: 'fd00:10:244::/56' } as const

/** Of which pods get five: network, gateway and broadcast address are for nobody. */
const SMALL = { prefix: '10.99.0.0/29', addresses: 5 } as const

/** Where the reference plugins for chains are, and the environment in which they find iptables. */
export interface Reference {
  readonly cniPath: readonly string[]
  readonly env: Readonly<Record<string, string>>
}

/** Tulle with an ipamd of its own, whose files are in `folder`. Needs a finished build. */
export async function tulleSubject(variant: Variant, folder: string, reference: Reference): Promise<Subject> {
  const own = join(folder, variant.name.replaceAll(/\W+/g, '-'))
  await mkdir(own)
  const configFile = join(own, 'ipamd.json')
  const [stateFolder, pidFile] = [join(own, 'state'), join(own, 'pid')]
  const socket = join(RUN_FOLDER, 'ipamd.sock')
  const pools = [
    { name: 'default', prefixes: variant.families.map(family => PREFIXES[family]), cooldownSeconds: 0 },
    { name: 'small', prefixes: [SMALL.prefix], cooldownSeconds: 0 },
  ]
  await writeFile(configFile, JSON.stringify({ socket, stateDir: stateFolder, pools }))
  const start = `{ ${BIN_FOLDER}/ipamd --config ${configFile} > ${own}/log 2>&1 & echo $! > ${pidFile}; }`
  function network(name: string, pool: string): JsonObject {
    const plugin = { type: 'tulle', capabilities: { dns: true, ips: true, mac: true }, ...variant.plugin }
    return { cniVersion: '1.1.0', name, plugins: [{ ...plugin, ipam: { type: 'tulle-ipam', pool } }] }
  }
  return {
    name: `Tulle, ${variant.name}`,
    conflist: network('pods', 'default'),
    cniPath: [BIN_FOLDER],
    env: { ...reference.env, ...variant.env },
    setup: `rm -rf ${stateFolder} && ${start} && until [ -S ${socket} ]; do sleep 0.05; done`,
    // At once: a daemon that is told to end answers what it has been asked.
    outage: `kill -KILL $(cat ${pidFile})`,
    stateFolders: [RUN_FOLDER],
    // What was done without the daemon, and what it was too busy to be told: it reads them within half a minute.
    ignoredFiles: /\/spool\//,
    families: variant.families,
    referencePath: reference.cniPath,
    exhaustible: { conflist: network('small', 'small'), addresses: SMALL.addresses },
  }
}

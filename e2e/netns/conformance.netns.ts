import './harness/isolated.ts'
import { mkdtempDisposable, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { ALL_CHECKS } from '../../conformance/checks/all.ts'
import { type Finding, runSuite } from '../../conformance/suite.ts'
import type { Subject } from '../../conformance/subject.ts'
import { debianPlugins } from './harness/debian-plugins.ts'
import type { JsonObject } from './harness/json.ts'
import { BIN_FOLDER, RUN_FOLDER } from './harness/tulle.ts'

// Tulle under the conformance suite: every check that can be asked of it passes, in every way that it can be configured.

interface Variant {
  readonly name: string
  readonly families: NonNullable<Subject['families']>
  /** Further keys of the plugin configuration object. */
  readonly plugin?: JsonObject
  /** Checks that cannot be asked of this variant, beside those of `NEVER_APPLICABLE`. */
  readonly notApplicable: readonly string[]
}

const IPV4_ONLY = ['K2.address-gone-ipv6', 'K2.address-other-ipv6', 'K2.route-gone-ipv6', 'K3.host-route-gone-ipv6']
const IPV6_ONLY = IPV4_ONLY.map(id => id.replace('ipv6', 'ipv4'))

const VARIANTS: readonly Variant[] = [
  { name: 'transparent, dual stack', families: ['ipv4', 'ipv6'], notApplicable: [] },
  { name: 'transparent, IPv4', families: ['ipv4'], notApplicable: IPV4_ONLY },
  { name: 'transparent, IPv6', families: ['ipv6'], notApplicable: IPV6_ONLY },
]

/** What no variant can be asked: every version is supported, transparent mode has no bridge, and adds no firewall rules for a pod. */
const NEVER_APPLICABLE = ['V3.old-refused', 'K3.host-detached', 'K3.bridge-down', 'K3.firewall-gone']

const PREFIXES = { ipv4: '10.244.0.0/16', ipv6: 'fd00:10:244::/56' } as const

/** Of which pods get five: network, gateway and broadcast address are for nobody. */
const SMALL = { prefix: '10.99.0.0/29', addresses: 5 } as const

const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-conformance-'))
t.teardown(() => folder.remove())
const reference = await debianPlugins(folder.path)

for (const variant of VARIANTS) {
  t.test(`runSuite() finds nothing wrong with Tulle: ${variant.name}`, async t => {
    const subject = await subjectOf(variant)
    await runSuite(subject, { checks: ALL_CHECKS, onFinding: finding => judge(finding) })

    function judge({ id, verdict, seen }: Finding): void {
      const isAsked = ![...NEVER_APPLICABLE, ...variant.notApplicable].includes(id)
      t.equal(verdict, isAsked ? 'pass' : 'not-applicable', [id, ...seen].join('\n'))
    }
  })
}

async function subjectOf({ name, families, plugin = {} }: Variant): Promise<Subject> {
  const stateFolder = join(folder.path, 'state')
  const configFile = join(folder.path, 'ipamd.json')
  const pidFile = join(folder.path, 'ipamd.pid')
  const configuration = {
    socket: join(RUN_FOLDER, 'ipamd.sock'),
    stateDir: stateFolder,
    pools: [
      { name: 'default', prefixes: families.map(family => PREFIXES[family]), cooldownSeconds: 0 },
      { name: 'small', prefixes: [SMALL.prefix], cooldownSeconds: 0 },
    ],
  }
  await writeFile(configFile, JSON.stringify(configuration))
  const start = `rm -rf ${stateFolder} && { ${BIN_FOLDER}/ipamd --config ${configFile} > ${folder.path}/ipamd.log 2>&1 & echo $! > ${pidFile}; }`
  const wait = `until [ -S ${configuration.socket} ]; do sleep 0.05; done`
  function network(name: string, pool: string): JsonObject {
    const ipam = { type: 'tulle-ipam', pool }
    return { cniVersion: '1.1.0', name, plugins: [{ type: 'tulle', capabilities: { dns: true }, ...plugin, ipam }] }
  }
  return {
    name: `Tulle, ${name}`,
    conflist: network('pods', 'default'),
    cniPath: [BIN_FOLDER],
    env: reference.env,
    setup: `${start} && ${wait}`,
    // ipamd ends, and with it every lease that could be had.
    outage: `kill $(cat ${pidFile})`,
    stateFolders: [RUN_FOLDER],
    families,
    referencePath: reference.cniPath,
    exhaustible: { conflist: network('small', 'small'), addresses: SMALL.addresses },
  }
}

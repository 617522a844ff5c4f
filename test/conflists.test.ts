import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Ajv } from 'ajv'
import t from 'tap'
import schema from '../conflist/tulle.schema.json' with { type: 'json' }
import { parseConfig } from '../ipamd/config.ts'
import { parseNetworkConfiguration } from '../lib/cni/configuration.ts'
import type { TulleConfiguration } from '../lib/cni/tulle-configuration.ts'
import { parseTulleConfiguration } from '../lib/cni/tulle-configuration.ts'
import { parseCniVersion } from '../lib/cni/version.ts'
import { formatAddress } from '../lib/net/address.ts'
import { ROOT } from '../scripts/paths.ts'
import { ourFiles } from '../scripts/source-files.ts'

interface NetworkList {
  readonly cniVersion: string
  readonly cniVersions?: readonly string[]
  readonly name: string
  readonly plugins: readonly { readonly type: string; readonly ipam?: { readonly type: string } }[]
}

/** What the plugin makes of each file, as text. */
const WANTED: Readonly<Record<string, string>> = {
  '10-tulle.conflist': 'transparent, ipamd /run/tulle/ipamd.sock',
  'azure.conflist': 'transparent, via host 169.254.20.10, ipamd /run/tulle/ipamd.sock',
  'dual-stack.conflist':
    'transparent, mtu 1450, via host 169.254.20.10 fd00:10:96::a, ipamd /run/tulle/ipamd.sock pool dual-stack',
  'host-local.conflist': 'transparent, delegated host-local',
  'bridge.conflist': 'bridge cni0, ipamd /run/tulle/ipamd.sock',
  'reference-bridge.conflist': '',
}

const matchesSchema = new Ajv({ allowUnionTypes: true, strictTypes: false }).compile(schema)

t.test('every conflist has an expectation, and the other way round', async t => {
  const files = ourFiles('conflist/**/*.conflist').map(file => basename(file))
  t.strictSame(files.toSorted(), Object.keys(WANTED).toSorted())
})

for (const file of ourFiles('conflist/**/*.conflist')) {
  const list: NetworkList = readJson(file)

  t.test(`${file} is understood by the plugin in each version that it offers (checklist C1, C2)`, async t => {
    for (const cniVersion of new Set([list.cniVersion, ...(list.cniVersions ?? [])])) {
      t.equal(parseCniVersion(cniVersion), cniVersion)
      for (const plugin of list.plugins.filter(({ type }) => type === 'tulle')) {
        const configuration = asRuntimesSendIt(list, plugin, cniVersion)
        t.equal(describe(parseTulleConfiguration(configuration)), WANTED[basename(file)])
      }
    }
  })

  t.test(`${file} is valid by conflist/tulle.schema.json`, async t => {
    for (const plugin of list.plugins.filter(({ type }) => type === 'tulle')) {
      t.ok(matchesSchema(plugin), JSON.stringify(matchesSchema.errors))
    }
  })

  t.test(`${file} gives work to something of ours`, async t => {
    t.ok(list.plugins.some(({ type, ipam }) => type === 'tulle' || ipam?.type === 'tulle-ipam'))
  })
}

t.test('10-tulle.conflist is 1.0.0 for runtimes that ignore cniVersions, and offers 1.1.0 to the others', async t => {
  const list: NetworkList = readJson('conflist/10-tulle.conflist')
  t.equal(list.cniVersion, '1.0.0')
  t.equal(list.cniVersions?.at(-1), '1.1.0')
  t.ok(list.cniVersions?.includes(list.cniVersion), 'libcni refuses a cniVersions without the cniVersion')
})

t.test("azure.conflist is an AKS node's file with our types", async t => {
  t.strictSame(readJson('conflist/examples/azure.conflist'), {
    cniVersion: '0.3.0',
    name: 'azure',
    plugins: [
      {
        type: 'tulle',
        mode: 'transparent',
        ipsToRouteViaHost: ['169.254.20.10'],
        ipam: { type: 'tulle-ipam' },
      },
      { type: 'portmap', capabilities: { portMappings: true }, snat: true },
    ],
  })
})

t.test('examples/ipamd.json is accepted by ipamd, and has the pools that the conflists name', async t => {
  const { pools, socketPath } = parseConfig(read('conflist/examples/ipamd.json'), 'host')
  t.equal(socketPath, '/run/tulle/ipamd.sock', 'where the plugin looks by default')
  t.strictSame(
    pools.map(({ name }) => name),
    ['default', 'dual-stack'],
  )
})

/** The configuration object of one plugin of a list, as libcni writes it to the plugin's standard input. */
function asRuntimesSendIt({ name }: NetworkList, plugin: object, cniVersion: string) {
  return parseNetworkConfiguration(JSON.stringify({ ...plugin, name, cniVersion }))
}

function describe({ mode, bridge, mtuBytes, ipsToRouteViaHost, ipam }: TulleConfiguration): string {
  const parts: string[] = [bridge === undefined ? mode : `${mode} ${bridge.bridge}`]
  if (mtuBytes !== undefined) parts.push(`mtu ${mtuBytes}`)
  if (ipsToRouteViaHost.length > 0) parts.push(`via host ${ipsToRouteViaHost.map(formatAddress).join(' ')}`)
  if (ipam.kind === 'delegated') parts.push(`delegated ${ipam.type}`)
  else parts.push(`ipamd ${ipam.socketPath}${ipam.pool === undefined ? '' : ` pool ${ipam.pool}`}`)
  return parts.join(', ')
}

/** JSON of ours, of the shape that the caller says; a wrong one fails in what the test does with it. */
function readJson(file: string) {
  return JSON.parse(read(file))
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8')
}

import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type JsonObject, asObjects } from '../../e2e/netns/harness/json.ts'
import { isAtLeast } from '../../e2e/netns/harness/network-list.ts'
import { type Check, NotApplicable, SPEC, Unmet } from '../check.ts'
import { linksOf } from '../kernel.ts'
import { describeOutcome, documentOf } from '../outcome.ts'
import { interfacesOf, ipsOf } from '../result.ts'
import type { Runtime } from '../runtime.ts'
import type { Stage } from '../stage.ts'
import { VERSIONS } from './version.ts'

const LATER = `${SPEC.check}: "must allow for a later chained plugin to have modified networking resources, e.g. routes, on ADD"`

/** The name of the suite's own chained plugin. */
const EDITOR = 'conformance-edit-result'

/** Plugins of the reference distribution that chains are made of, and what a runtime hands them. */
const REFERENCE: readonly { readonly type: string; readonly plugin: JsonObject; readonly capabilities?: JsonObject }[] =
  [
    { type: 'tuning', plugin: { type: 'tuning', sysctl: { 'net.ipv4.conf.all.arp_filter': '1' } } },
    {
      type: 'tuning-mac',
      plugin: { type: 'tuning', capabilities: { mac: true } },
      capabilities: { mac: '02:00:5e:00:53:77' },
    },
    { type: 'tuning-mtu', plugin: { type: 'tuning', mtu: 1380 } },
    {
      type: 'portmap',
      plugin: { type: 'portmap', capabilities: { portMappings: true }, snat: true },
      capabilities: { portMappings: [{ hostPort: 30_080, containerPort: 80, protocol: 'tcp' }] },
    },
    {
      type: 'bandwidth',
      plugin: {
        type: 'bandwidth',
        ingressRate: 8_000_000,
        ingressBurst: 8_000_000,
        egressRate: 8_000_000,
        egressBurst: 8_000_000,
      },
    },
    { type: 'sbr', plugin: { type: 'sbr' } },
  ]

/** Those that change what prevResult lists and pass prevResult on as it was: an interface plugin cannot know that it was them. */
const UNTOLD: ReadonlySet<string> = new Set(['tuning-mtu', 'sbr'])

/** Chains (SPEC 1.1.0, section 3): the plugin under test with others before it and after it. */
export const chainChecks: readonly Check[] = [
  ...REFERENCE.map(({ type, plugin, capabilities }): Check => ({
    id: `X2.then-${type}`,
    basis: UNTOLD.has(type) ? 'our-reading' : 'must',
    source: UNTOLD.has(type) ? `${LATER}; but ${String(plugin['type'])} passes prevResult on as it was` : LATER,
    expected: `In a chain with the reference plugin ${String(plugin['type'])}${type.includes('-') ? ` (${type.replace(/.*-/, '')})` : ''} after it: ADD, CHECK and DEL succeed.`,
    needs: ['addresses', 'reference-plugins'],
    async run(stage) {
      const others = asObjects(stage.subject.conflist['plugins'], 'plugins').map(other => other['type'])
      if (others.slice(1).includes(plugin['type'])) throw new NotApplicable('it is in the chain already')
      const runtime = await chainOf(stage, {
        after: [plugin],
        cniPath: [...stage.subject.cniPath, ...stage.subject.referencePath],
      })
      await live(stage, runtime, capabilities)
    },
  })),
  {
    id: 'X2.then-editor',
    basis: 'our-reading',
    source: `${LATER}, and section 3: CHECK and DEL get "the final result of the add operation"`,
    expected:
      'In a chain with a plugin after it that adds an interface and an address to the result: ADD, CHECK and DEL succeed.',
    needs: ['addresses'],
    async run(stage) {
      const cniPath = [...stage.subject.cniPath, await editorFolder(stage)]
      const runtime = await chainOf(stage, { after: [{ type: EDITOR, role: 'last' }], cniPath })
      const pod = await live(stage, runtime)
      stage.expect(pod.includes('last0'), `interfaces of the last result: ${pod.join(', ')}`)
    },
  },
  {
    id: 'X3.after-another',
    basis: 'must',
    source: `${SPEC.result}: "must output it as their result, with any possible modifications made by that plugin included"`,
    expected:
      'In a chain with a plugin before it that made an interface: ADD, CHECK and DEL succeed, and the result has both.',
    needs: ['addresses'],
    async run(stage) {
      const cniPath = [...stage.subject.cniPath, await editorFolder(stage)]
      const runtime = await chainOf(stage, { before: [{ type: EDITOR, role: 'first' }], cniPath })
      const names = await live(stage, runtime)
      stage.expect(
        names.includes('first0') && names.includes(stage.ifName),
        `interfaces of the last result: ${names.join(', ')}`,
      )
    },
  },
  {
    id: 'X4.two-interfaces',
    basis: 'must',
    source: `${SPEC.add}: "a given container ID may be added to a specific network more than once only if each addition is done with a different interface name"`,
    expected:
      'A second attachment of one container, with another interface name, succeeds or is refused with an error; the first is not hurt, and both can be deleted.',
    needs: ['addresses', 'interface'],
    async run(stage) {
      const pod = await stage.added()
      const second = { ...pod.attachment, ifName: 'net1' }
      const added = await stage.runtime.add(second)
      if (!added.isSuccess) stage.expectFailure(added)
      stage.expectSuccess(await stage.runtime.del(second, added.result), 'of net1')
      const names = (await linksOf(pod.netns)).map(({ name }) => name)
      stage.expect(
        names.includes(stage.ifName) && !names.includes('net1'),
        `interfaces after DEL of net1: ${names.join(', ')}`,
      )
      if (stage.runtime.hasVerb('CHECK'))
        stage.expectSuccess(await stage.runtime.check(pod.attachment, pod.result), 'of the first')
    },
  },
]

interface Chain {
  readonly before?: readonly JsonObject[]
  readonly after?: readonly JsonObject[]
  readonly cniPath: readonly string[]
}

/** The subject's list with other plugins around it, at the highest version from 0.3.0 on that all of them know. */
async function chainOf(stage: Stage, { before = [], after = [], cniPath }: Chain): Promise<Runtime> {
  const plugins = [...before, ...asObjects(stage.subject.conflist['plugins'], 'plugins'), ...after]
  const { cniVersions: _, ...conflist } = stage.subject.conflist
  const asked = stage.runtimeWith({ conflist: { ...conflist, cniVersion: '1.0.0', plugins }, cniPath })
  const supported: (readonly unknown[])[] = []
  for (const plugin of plugins) {
    const versions = documentOf(await asked.call('VERSION', plugin, {}))?.['supportedVersions']
    supported.push(Array.isArray(versions) ? versions : [])
  }
  const common = VERSIONS.filter(
    version => isAtLeast(version, '0.3.0') && supported.every(list => list.includes(version)),
  )
  const cniVersion = common.at(-1)
  if (cniVersion === undefined) throw new Unmet('the plugins of the chain have no version in common')
  return stage.runtimeWith({ conflist: { ...conflist, cniVersion, plugins }, cniPath })
}

/** ADD, CHECK, DEL of one container. @returns the names of the interfaces of the last result. */
async function live(stage: Stage, runtime: Runtime, capabilities?: JsonObject): Promise<readonly string[]> {
  const options = { runtime, ...(capabilities && { attachment: { capabilities } }) }
  await stage.prime(options)
  const pod = await stage.pod(options)
  const { executable } = stage.runtime.invocation('ADD', stage.runtime.plugin, {})
  const { decisive, result } = await runtime.add(pod.attachment)
  // Bandwidth wants a veth, for one: that is not for the plugin under test to answer for.
  if (result === undefined && decisive.executable !== executable) throw new NotApplicable(describeOutcome(decisive))
  if (result === undefined) throw new Unmet(describeOutcome(decisive))
  stage.expect(ipsOf(result).length > 0, `no addresses in ${JSON.stringify(result)}`)
  if (runtime.hasVerb('CHECK')) stage.expectSuccess(await runtime.check(pod.attachment, result))
  stage.expectSuccess(await runtime.del(pod.attachment, result))
  return interfacesOf(result).map(({ name }) => name)
}

/** A folder for CNI_PATH that holds the suite's own chained plugin. */
async function editorFolder(stage: Stage): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'conformance-chain-'))
  stage.atEnd(async () => await rm(folder, { recursive: true }))
  const path = join(folder, EDITOR)
  const source = join(import.meta.dirname, '../fixture/edit-result.ts')
  await writeFile(path, `#!/bin/sh\nPATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin exec '${process.execPath}' '${source}'\n`)
  await chmod(path, 0o755)
  return folder
}

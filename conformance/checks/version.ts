import { asObjects, isObject } from '../../e2e/netns/harness/json.ts'
import { isAtLeast } from '../../e2e/netns/harness/network-list.ts'
import { parseCidr } from '../address.ts'
import { type Check, NotApplicable, SPEC } from '../check.ts'
import { codeOf, describeOutcome, documentOf } from '../outcome.ts'
import { addressesOf, objectsOf } from '../result.ts'
import type { Stage } from '../stage.ts'

/** Every released version of the specification. */
export const VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const

type Version = (typeof VERSIONS)[number]

/** VERSION, and the life of an attachment in every version (SPEC 1.1.0, sections 2 and 5, and the versions before it). */
export const versionChecks: readonly Check[] = [
  {
    id: 'V1.supported-versions',
    basis: 'must',
    source: SPEC.versionResult,
    expected: 'VERSION succeeds and lists the supported versions.',
    async run(stage) {
      const outcome = await stage.call('VERSION', {})
      stage.expectSuccess(outcome)
      const versions = documentOf(outcome)?.['supportedVersions']
      const isList =
        Array.isArray(versions) &&
        versions.length > 0 &&
        versions.every(version => /^\d+\.\d+\.\d+$/.test(String(version)))
      stage.expect(isList, describeOutcome(outcome))
    },
  },
  ...(['0.4.0', '1.0.0', '1.1.0'] as const).map((cniVersion): Check => ({
    id: `V1.echo-${cniVersion}`,
    basis: 'must',
    source: `${SPEC.versionResult}: "The value of cniVersion specified on input"`,
    expected: `VERSION asked with cniVersion ${cniVersion} answers with cniVersion ${cniVersion}.`,
    async run(stage) {
      // Up to 0.4.0 the specification asked for no echo: of a plugin that ends there nothing can be asked.
      await assertSupported(stage, cniVersion)
      await assertSupported(stage, '1.0.0')
      const outcome = await stage.call('VERSION', { stdin: JSON.stringify({ cniVersion }) })
      stage.expect(documentOf(outcome)?.['cniVersion'] === cniVersion, describeOutcome(outcome))
    },
  })),
  {
    id: 'V2.no-input',
    basis: 'library',
    source: `${SPEC.skel}: it reads no input for VERSION, and old runtimes give none`,
    expected: 'VERSION with empty input succeeds.',
    async run(stage) {
      const outcome = await stage.call('VERSION', { stdin: '' })
      stage.expect(outcome.exitCode === 0 && documentOf(outcome) !== undefined, describeOutcome(outcome))
    },
  },
  {
    id: 'V2.command-only',
    basis: 'must',
    source: `${SPEC.version}: CNI_COMMAND is the only required parameter`,
    expected: 'VERSION needs no other variable than CNI_COMMAND.',
    async run(stage) {
      const outcome = await stage.call('VERSION', { env: { CNI_PATH: undefined } })
      stage.expect(outcome.exitCode === 0 && documentOf(outcome) !== undefined, describeOutcome(outcome))
    },
  },
  ...VERSIONS.flatMap(cniVersion => [
    {
      id: `V3.life-${cniVersion}`,
      basis: 'must',
      source: `${SPEC.result}: "The same version supplied on input"`,
      expected: `At ${cniVersion}: ADD gives a result of that version and shape, then CHECK where there is one, then DEL.`,
      run: async stage => await live(stage, cniVersion),
    } satisfies Check,
    {
      id: `V5.prev-result-${cniVersion}`,
      basis: 'must',
      source: SPEC.del,
      expected: `At ${cniVersion}: DEL takes a prevResult of that version.`,
      async run(stage) {
        const runtime = await runtimeAt(stage, cniVersion)
        if (runtime === undefined) throw new NotApplicable(`the plugin does not support ${cniVersion}`)
        const pod = await stage.added({ runtime })
        stage.expectSuccess(
          await stage.call('DEL', { attachment: pod.attachment, keys: { cniVersion, prevResult: pod.result } }),
        )
      },
    } satisfies Check,
  ]),
  {
    id: 'V3.old-refused',
    basis: 'must',
    source: SPEC.versions,
    expected: 'A released version that is not in supportedVersions is refused with code 1.',
    async run(stage) {
      const supported = await supportedVersions(stage)
      const refused = VERSIONS.filter(version => !supported.includes(version))
      if (refused.length === 0) throw new NotApplicable('every released version is supported')
      for (const cniVersion of refused) {
        const pod = await stage.pod()
        const outcome = await stage.call('ADD', { attachment: pod.attachment, keys: { cniVersion } })
        stage.expect(codeOf(outcome) === 1, describeOutcome(outcome))
      }
    },
  },
]

/** @throws {NotApplicable} when the plugin does not list the version. */
export async function assertSupported(stage: Stage, cniVersion: Version): Promise<void> {
  const isListed = (await supportedVersions(stage)).includes(cniVersion)
  if (!isListed) throw new NotApplicable(`the plugin does not support ${cniVersion}`)
}

async function supportedVersions(stage: Stage): Promise<readonly unknown[]> {
  const versions = documentOf(await stage.call('VERSION', {}))?.['supportedVersions']
  return Array.isArray(versions) ? versions : []
}

/** The subject's network in another version; `undefined` when a plugin of it does not know that. */
async function runtimeAt(stage: Stage, cniVersion: Version): Promise<Stage['runtime'] | undefined> {
  if (!(await supportedVersions(stage)).includes(cniVersion)) return undefined
  const { cniVersions: _, ...conflist } = stage.subject.conflist
  return stage.runtimeWith({ conflist: { ...conflist, cniVersion } })
}

async function live(stage: Stage, cniVersion: Version): Promise<void> {
  const runtime = await runtimeAt(stage, cniVersion)
  if (runtime === undefined) throw new NotApplicable(`the plugin does not support ${cniVersion}`)
  const pod = await stage.pod({ runtime })
  const added = await runtime.add(pod.attachment)
  const { result } = added
  if (result === undefined) return void stage.expectSuccess(added)
  stage.expect(result['cniVersion'] === cniVersion, `result.cniVersion is ${JSON.stringify(result['cniVersion'])}`)
  for (const problem of shapeProblems(result, cniVersion)) stage.expect(false, problem)
  if (runtime.hasVerb('CHECK')) stage.expectSuccess(await runtime.check(pod.attachment, result))
  stage.expectSuccess(await runtime.del(pod.attachment, result))
}

/** What is wrong with the shape of a result of `cniVersion`. */
function shapeProblems(result: Readonly<Record<string, unknown>>, cniVersion: Version): readonly string[] {
  const problems: string[] = []
  const text = JSON.stringify(result)
  const isOldest = !isAtLeast(cniVersion, '0.3.0')
  for (const address of addressesOf(result)) {
    if (parseCidr(address) === undefined) problems.push(`address ${JSON.stringify(address)} is not in CIDR notation`)
  }
  if (isOldest && (result['ips'] !== undefined || result['interfaces'] !== undefined))
    problems.push(`ips and interfaces came with 0.3.0: ${text}`)
  if (!isOldest && (isObject(result['ip4']) || isObject(result['ip6'])))
    problems.push(`ip4 and ip6 ended with 0.2.0: ${text}`)
  const ips = objectsOf(result['ips'])
  const hasVersions = ips.every(({ version, address }) => version === (String(address).includes(':') ? '6' : '4'))
  if (!isOldest && !isAtLeast(cniVersion, '1.0.0') && !hasVersions)
    problems.push(`ips[].version is "4" or "6" before 1.0.0: ${text}`)
  if (isAtLeast(cniVersion, '1.0.0') && ips.some(({ version }) => version !== undefined))
    problems.push(`ips[].version ended with 0.4.0: ${text}`)
  const interfaces = objectsOf(result['interfaces'])
  if (!isAtLeast(cniVersion, '1.1.0') && interfaces.some(({ mtu }) => mtu !== undefined))
    problems.push(`interfaces[].mtu came with 1.1.0: ${text}`)
  const isInRange = ips.every(({ interface: index }) => index === undefined || Number(index) < interfaces.length)
  if (!isInRange) problems.push(`ips[].interface is no index into interfaces: ${text}`)
  const routes = asObjects(result['routes'] ?? [], 'routes')
  if (routes.some(({ dst }) => parseCidr(dst) === undefined))
    problems.push(`routes[].dst is not in CIDR notation: ${text}`)
  return problems
}

import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Check, SPEC } from '../check.ts'
import type { JsonObject } from '../../e2e/netns/harness/json.ts'
import { DELEGATE, Delegate } from '../fixture/delegate.ts'
import { codeOf, describeOutcome, wordsOf } from '../outcome.ts'
import type { DirectCall, Stage } from '../stage.ts'

/** Configuration on standard input: what must be refused, with which code, and what must be borne. */
export const configurationChecks: readonly Check[] = [
  refusal('C1.not-json', 'Input that is no JSON is refused with code 6.', { stdin: '{"cniVersion": ' }, [6]),
  refusal('C1.empty', 'Empty input is refused with code 6 or 7.', { stdin: '' }, [6, 7]),
  refusal(
    'C1.not-an-object',
    'JSON that is no object is refused with code 6 or 7.',
    { stdin: '["cniVersion"]' },
    [6, 7],
  ),
  refusal(
    'C1.two-documents',
    'Two documents are refused with code 6.',
    { stdin: '{"cniVersion":"1.0.0","name":"a"}{}' },
    [6],
  ),
  refusal(
    'C6.name-missing',
    'A configuration without a network name is refused with code 7.',
    keys({ name: undefined }),
    [7],
  ),
  refusal(
    'C6.name-characters',
    'A network name with a slash is refused with code 7.',
    keys({ name: '../escape' }),
    [7],
  ),
  refusal('C6.name-type', 'A network name that is no string is refused with code 6 or 7.', keys({ name: 5 }), [6, 7]),
  refusal(
    'C11.version-unknown',
    'A cniVersion from the future is refused with code 1.',
    keys({ cniVersion: '99.0.0' }),
    [1],
  ),
  refusal(
    'C11.version-malformed',
    'A cniVersion that is no version is refused with code 6 or 1.',
    keys({ cniVersion: 'newest' }),
    [1, 6],
  ),
  refusal(
    'C11.version-four-parts',
    'A cniVersion of four parts is refused with code 6 or 1.',
    keys({ cniVersion: '1.0.0.0' }),
    [1, 6],
  ),
  {
    id: 'C11.version-named',
    basis: 'library',
    source: 'reference library 1.3, pkg/version Reconciler',
    expected: 'The error about an incompatible version names the version of the configuration.',
    async run(stage) {
      const pod = await stage.pod()
      const outcome = await stage.call('ADD', { attachment: pod.attachment, keys: { cniVersion: '99.0.0' } })
      stage.expect(wordsOf(outcome).includes('99.0.0'), describeOutcome(outcome))
    },
  },
  {
    id: 'C11.version-absent',
    basis: 'library',
    source: 'reference library 1.3, pkg/version ConfigDecoder: "0.1.0" when absent',
    expected:
      'A configuration without cniVersion is one of 0.1.0: ADD gives a result of that shape, or refuses with code 1.',
    async run(stage) {
      const pod = await stage.pod()
      const outcome = await stage.call('ADD', { attachment: pod.attachment, keys: { cniVersion: undefined } })
      if (outcome.exitCode !== 0) return void stage.expect(codeOf(outcome) === 1, describeOutcome(outcome))
      const { printed } = outcome
      const isOld =
        printed.kind === 'document' && printed.json['ips'] === undefined && printed.json['interfaces'] === undefined
      stage.expect(isOld, describeOutcome(outcome))
    },
  },
  {
    id: 'C8.unreadable-input',
    basis: 'our-reading',
    source: `${SPEC.error}, code 5: "I/O failure. For example, failed to read network config bytes from stdin"`,
    expected: 'Input that cannot be read, a folder, is refused with code 5.',
    async run(stage) {
      const pod = await stage.pod()
      const outcome = await stage.call('ADD', { attachment: pod.attachment, stdinPath: '/' })
      stage.expectFailure(outcome)
      stage.expect(codeOf(outcome) === 5, () => `code ${codeOf(outcome) ?? 'none'}: ${describeOutcome(outcome)}`)
    },
  },
  prevResultBorne(
    'C9.prev-result-without-version',
    'library',
    'reference library 1.3, pkg/version ParsePrevResult: before 1.0 a result may have no version, and that of the configuration is meant',
    ['A prevResult without cniVersion', withoutVersion],
  ),
  prevResultBorne(
    'C9.prev-result-in-go-spelling',
    'lesson',
    'programs in Go read keys in any case, and ParsePrevResult of the reference library writes CNIVersion',
    ['A prevResult with CNIVersion beside cniVersion', result => ({ CNIVersion: result['cniVersion'], ...result })],
  ),
  {
    id: 'C2.unknown-keys',
    basis: 'lesson',
    source: `${SPEC.configuration}: a plugin "may generate an error if called with unknown fields", and conflists carry keys for others`,
    expected: 'Unknown keys at the top level are borne.',
    run: async stage => await accepted(stage, keys({ 'example.com/unknown': { deep: [1, 2] }, unknownKey: true })),
  },
  {
    id: 'C4.reserved-keys',
    basis: 'must',
    source: `${SPEC.deriving}: keys with the prefix cni.dev/ belong to the protocol`,
    expected: 'A key with the prefix cni.dev/ that the plugin does not know does not disturb ADD.',
    run: async stage => await accepted(stage, keys({ 'cni.dev/future': ['x'] })),
  },
  {
    id: 'C5.capabilities-kept',
    basis: 'library',
    source: `${SPEC.libcni}: it hands plugins their "capabilities" although section 3 says that it must not be set`,
    expected: 'A `capabilities` key that the runtime failed to strip does not disturb ADD.',
    run: async stage => await accepted(stage, keys({ capabilities: { portMappings: false } })),
  },
  {
    id: 'C10.null',
    basis: 'lesson',
    source: 'configurations are made by programs, and in Go a null is an absent key',
    expected: 'Null for an optional key is the same as no such key.',
    run: async stage => await accepted(stage, keys({ dns: null, args: null, runtimeConfig: null, prevResult: null })),
  },
  {
    id: 'C3.ipam-type-path',
    basis: 'must',
    source: `${SPEC.configuration}: ipam.type "must not contain characters disallowed in file paths"`,
    expected: 'An ipam.type that is a path is refused, and nothing at that path is executed.',
    needs: ['ipam'],
    async run(stage) {
      const folder = await mkdtemp(join(tmpdir(), 'conformance-path-'))
      stage.atEnd(async () => await rm(folder, { recursive: true }))
      await mkdir(join(folder, 'inside'))
      const outside = await Delegate.create(join(folder, 'outside'))
      const pod = await stage.pod()
      const ipam = { ...stage.ipam, type: `../outside/${DELEGATE}` }
      const env = { CNI_PATH: join(folder, 'inside') }
      stage.expectFailure(await stage.call('ADD', { attachment: pod.attachment, keys: { ipam }, env }))
      stage.expect((await outside.calls()).length === 0, 'what is at that path was executed')
    },
  },
  {
    id: 'C3.ipam-missing',
    basis: 'must',
    source: SPEC.delegation,
    expected: 'An IPAM plugin that is not in CNI_PATH makes ADD fail.',
    needs: ['ipam'],
    async run(stage) {
      const pod = await stage.pod()
      const ipam = { ...stage.ipam, type: 'no-such-ipam-plugin' }
      stage.expectFailure(await stage.call('ADD', { attachment: pod.attachment, keys: { ipam } }))
    },
  },
]

function keys(keys: JsonObject): DirectCall {
  return { keys }
}

/** DEL, and CHECK where there is one, with a prevResult that was changed on its way. */
function prevResultBorne(
  id: Check['id'],
  basis: Check['basis'],
  source: string,
  [what, change]: readonly [string, (result: JsonObject) => JsonObject],
): Check {
  return {
    id,
    basis,
    source,
    expected: `${what} is borne, by CHECK and by DEL.`,
    async run(stage) {
      const pod = await stage.added()
      const changed = change(pod.result)
      if (stage.runtime.hasVerb('CHECK')) stage.expectSuccess(await stage.runtime.check(pod.attachment, changed))
      stage.expectSuccess(await stage.runtime.del(pod.attachment, changed))
    },
  }
}

function withoutVersion(result: JsonObject): JsonObject {
  const { cniVersion: _, ...others } = result
  return others
}

function refusal(id: Check['id'], expected: string, call: DirectCall, codes: readonly number[]): Check {
  return {
    id,
    basis: 'must',
    source: id.startsWith('C11') ? SPEC.versions : SPEC.error,
    expected,
    async run(stage) {
      const pod = await stage.pod()
      const outcome = await stage.call('ADD', { attachment: pod.attachment, ...call })
      stage.expectFailure(outcome)
      const code = codeOf(outcome)
      stage.expect(
        code !== undefined && codes.includes(code),
        () => `code ${code ?? 'none'}: ${describeOutcome(outcome)}`,
      )
    },
  }
}

async function accepted(stage: Stage, call: DirectCall): Promise<void> {
  const pod = await stage.pod()
  stage.expectSuccess(await stage.call('ADD', { attachment: pod.attachment, ...call }))
  stage.expectSuccess(await stage.call('DEL', { attachment: pod.attachment, ...call }))
}

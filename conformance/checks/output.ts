import type { JsonObject } from '../../e2e/netns/harness/json.ts'
import { type Check, NotApplicable, SPEC } from '../check.ts'
import { type Outcome, codeOf, describeOutcome, documentOf, wordsOf } from '../outcome.ts'
import type { Stage } from '../stage.ts'

/** Codes below 100 that the specification or the reference library defines; the rest of them is reserved. */
const DEFINED_CODES: ReadonlySet<number> = new Set([0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 50, 51, 999])

/** Verbs that print nothing when they succeed. */
const SILENT: ReadonlySet<string> = new Set(['DEL', 'CHECK', 'GC', 'STATUS'])

/**
 * Output. These look at every call that the run has made so far, with whatever input, and at a few of their own.
 */
export const outputChecks: readonly Check[] = [
  {
    id: 'O1.exit-code',
    basis: 'must',
    source: SPEC.errors,
    expected: 'A plugin exits with 0 on success and with something else on failure: with 0 it never prints an error.',
    run: stage =>
      holdsForAll(
        stage,
        ({ exitCode, printed }) => exitCode !== 0 || printed.kind !== 'document' || !isError(printed.json),
      ),
  },
  {
    id: 'O1.ends-by-itself',
    basis: 'must',
    source: SPEC.errors,
    expected: 'A plugin ends by itself: it does not hang, and no signal ends it.',
    run: stage => holdsForAll(stage, outcome => outcome.exitCode !== null),
  },
  {
    id: 'O2.one-document',
    basis: 'must',
    source: SPEC.result,
    expected: 'Standard output holds one JSON object or nothing; nothing else is ever printed there.',
    run: stage => holdsForAll(stage, ({ printed }) => printed.kind !== 'malformed'),
  },
  {
    id: 'O2.add-prints-result',
    basis: 'must',
    source: SPEC.add,
    expected: 'An ADD that succeeds prints a result.',
    run: stage =>
      holdsForAll(
        stage,
        outcome => !isVerb(outcome, 'ADD') || outcome.exitCode !== 0 || documentOf(outcome) !== undefined,
      ),
  },
  {
    id: 'O3.error-on-stdout',
    basis: 'our-reading',
    source: `${SPEC.errors} and ${SPEC.status} ("output an error on standard out"); section 2, "Overview" says stderr in one sentence, which libcni does not read`,
    expected: 'A failure prints an error object on standard output.',
    run: stage => holdsForAll(stage, outcome => !hasFailed(outcome) || documentOf(outcome) !== undefined),
  },
  {
    id: 'O3.error-code',
    basis: 'must',
    source: SPEC.error,
    expected: 'The code of an error is a number.',
    run: stage => holdsForAll(stage, outcome => errorsHave(outcome, ({ code }) => Number.isInteger(code))),
  },
  {
    id: 'O3.error-message',
    basis: 'should',
    source: SPEC.error,
    expected: 'An error has a message.',
    run: stage =>
      holdsForAll(stage, outcome => errorsHave(outcome, ({ msg }) => typeof msg === 'string' && msg.trim() !== '')),
  },
  {
    id: 'O3.error-version',
    basis: 'should',
    source: SPEC.error,
    expected: 'An error has the key cniVersion, "the protocol version in use".',
    run: stage =>
      holdsForAll(stage, outcome => errorsHave(outcome, ({ cniVersion }) => typeof cniVersion === 'string')),
  },
  {
    id: 'O6.silent-success',
    basis: 'our-reading',
    source: `${SPEC.gc} ("No output on success"); results are defined for ADD and VERSION only, section 5`,
    expected: 'DEL, CHECK, GC and STATUS print nothing when they succeed.',
    run: stage =>
      holdsForAll(
        stage,
        outcome => outcome.exitCode !== 0 || !SILENT.has(verbOf(outcome)) || outcome.stdout.trim() === '',
      ),
  },
  {
    id: 'C6.unsupported-field-named',
    basis: 'must',
    source: `${SPEC.error}, code 2: "The error message must contain the key and value of the unsupported field"`,
    expected: 'An error with code 2 names the key and the value that are not supported.',
    async run(stage) {
      for (const keys of UNSUPPORTED) {
        const pod = await stage.pod()
        await stage.call('ADD', { attachment: pod.attachment, keys })
      }
      const isAsked = (outcome: Outcome): boolean => hasFailed(outcome) && codeOf(outcome) === 2
      const answers = [...stage.journal, ...stage.outcomes].filter(isAsked)
      if (answers.length === 0) throw new NotApplicable('no call was answered with code 2')
      const unnamed = answers.find(outcome => !namesField(outcome))
      stage.expect(unnamed === undefined, () => (unnamed === undefined ? '' : describeOutcome(unnamed)))
      if (unnamed !== undefined) stage.noteExample(unnamed)
    },
  },
  {
    id: 'O7.reserved-codes',
    basis: 'must',
    source: `${SPEC.error}: "Error codes 0-99 are reserved for well-known errors"`,
    expected: 'No error has a code below 100 that is not defined.',
    run: stage =>
      holdsForAll(stage, outcome =>
        errorsHave(outcome, ({ code }) => typeof code !== 'number' || code >= 100 || DEFINED_CODES.has(code)),
      ),
  },
  {
    id: 'O7.unknown-container-code',
    basis: 'must',
    source: `${SPEC.error}, code 3: "implies the runtime does not need to perform any container network cleanup"`,
    expected: 'A failed ADD does not answer with code 3.',
    run: stage =>
      holdsForAll(stage, outcome => !isVerb(outcome, 'ADD') || errorsHave(outcome, ({ code }) => code !== 3)),
  },
]

/** Keys and values that few plugins support: who minds the value of another's key may say so with code 2, or not at all. */
const UNSUPPORTED: readonly JsonObject[] = [
  { mode: 'conformance-mode' },
  { runtimeConfig: { infinibandGUID: 'c2:11:22:33:44:55:66:77' } },
]

/** True when the words of the error hold a key of the configuration together with its value. */
function namesField(outcome: Outcome): boolean {
  const words = wordsOf(outcome)
  return fieldsOf(JSON.parse(outcome.stdin)).some(([key, value]) => words.includes(key) && words.includes(value))
}

/** Every key at any depth with each text, number or truth value that is below it. */
function fieldsOf(value: unknown, key = ''): readonly (readonly [key: string, value: string])[] {
  if (typeof value !== 'object' || value === null) return [[key, String(value)]]
  const isList = Array.isArray(value)
  return Object.entries(value).flatMap(([name, each]) => {
    const own = isList ? key : name
    const below = fieldsOf(each, own)
    return [...below, ...below.map(([, text]) => [own, text] as const)]
  })
}

type ErrorKeys = { readonly [key in 'code' | 'msg' | 'cniVersion']?: unknown }

/** Holds `rule` against every call. */
async function holdsForAll(stage: Stage, rule: (outcome: Outcome) => boolean): Promise<void> {
  await playEveryVerb(stage)
  const { executable } = stage.runtime.invocation('ADD', stage.runtime.plugin, {})
  const all = [...stage.journal, ...stage.outcomes]
  const looked = all.filter(outcome => !outcome.isKilled && outcome.executable === executable)
  const broken = looked.filter(outcome => !rule(outcome))
  const [first] = broken
  if (first === undefined) return
  stage.expect(false, `${broken.length} of ${looked.length} calls, first ${describeOutcome(first)}`)
  stage.noteExample(first)
}

/** One success and one failure of every verb. */
async function playEveryVerb(stage: Stage): Promise<void> {
  const { runtime } = stage
  const pod = await stage.added()
  if (runtime.hasVerb('CHECK')) await runtime.check(pod.attachment, pod.result)
  if (runtime.hasVerb('GC')) await runtime.gc([pod.attachment])
  if (runtime.hasVerb('STATUS')) await runtime.status()
  await runtime.del(pod.attachment, pod.result)
  await stage.call('VERSION', {})
  for (const verb of ['ADD', 'DEL', 'CHECK', 'GC', 'STATUS'] as const) {
    await stage.call(verb, { attachment: pod.attachment, keys: { name: undefined } })
  }
  await stage.call('ADD', { attachment: { ...pod.attachment, netnsPath: '/run/netns/no-such-namespace' } })
}

function hasFailed({ exitCode }: Outcome): boolean {
  return exitCode !== 0 && exitCode !== null
}

function errorsHave(outcome: Outcome, rule: (error: ErrorKeys) => boolean): boolean {
  const error = hasFailed(outcome) ? documentOf(outcome) : undefined
  return error === undefined || rule(error)
}

function isError(json: ErrorKeys): boolean {
  return json.code !== undefined && json.msg !== undefined
}

function isVerb(outcome: Outcome, verb: string): boolean {
  return verbOf(outcome) === verb
}

function verbOf({ env }: Outcome): string {
  return env['CNI_COMMAND'] ?? ''
}

import { ErrorCode } from '../lib/cni/errors.ts'
import type { Outcome } from '../lib/attach/plugin-run.ts'

/** Every code that a plugin may fail with. Not 3, which promises that nothing was made, and not 999, which is a bug. */
const CODES: ReadonlySet<unknown> = new Set(
  Object.values(ErrorCode).filter(code => code !== ErrorCode.internal && code !== ErrorCode.unknownContainer),
)

/** Longer than this nobody reads, and a runtime writes it into the events of a pod. */
const MAX_MESSAGE_LENGTH = 4_000

/** What a person must never be shown: a stack, or what JavaScript prints when somebody forgot to ask. */
const NOT_FOR_PEOPLE = /\n\s+at |\[object |\bundefined\b|\bNaN\b|is not a function|Cannot read propert|is not iterable/

/**
 * What is wrong with what a run printed, by the specification alone (checklist O1–O7); empty when nothing is.
 */
export function judgeOutcome(command: string | undefined, { stdout, stderr, exitCode }: Outcome): readonly string[] {
  if (exitCode !== 0 && exitCode !== 1) return [`exit code ${exitCode}`]
  if (stdout === '') return judgeSilence(command, { stderr, exitCode })
  const document = parse(stdout)
  if (document === undefined) return [`stdout is no one JSON object: ${stdout.slice(0, 200)}`]
  return exitCode === 0 ? judgeSuccess(command, document) : judgeFailure(document)
}

function judgeSilence(command: string | undefined, { stderr, exitCode }: Omit<Outcome, 'stdout'>): readonly string[] {
  if (exitCode !== 0) return ['it fails and says nothing (O5)']
  if (command === 'ADD' || command === 'VERSION') return [`${command} succeeds and prints nothing`]
  if (!command && !stderr.includes('CNI protocol versions supported')) return ['no command, and no help (E2)']
  return []
}

function judgeSuccess(command: string | undefined, document: Record<string, unknown>): readonly string[] {
  if (typeof document['cniVersion'] !== 'string') return ['a document without cniVersion']
  if (command === 'VERSION') return Array.isArray(document['supportedVersions']) ? [] : ['no supportedVersions']
  if (command !== 'ADD') return [`${command} prints something (O6)`]
  return 'ips' in document || 'ip4' in document || 'ip6' in document ? [] : ['a result without an address']
}

function judgeFailure({ cniVersion, code, msg, details }: Record<string, unknown>): readonly string[] {
  const problems: string[] = []
  if (typeof cniVersion !== 'string' || cniVersion === '') problems.push('an error without cniVersion')
  if (!CODES.has(code)) problems.push(`code ${String(code)}`)
  if (typeof msg !== 'string' || msg === '') problems.push('an error without msg')
  for (const text of [msg, details].filter(text => typeof text === 'string')) {
    if (text.length > MAX_MESSAGE_LENGTH) problems.push(`a message of ${text.length} characters`)
    const [odd] = NOT_FOR_PEOPLE.exec(text) ?? []
    if (odd !== undefined) problems.push(`a message with ${JSON.stringify(odd)}: ${text.slice(0, 200)}`)
  }
  return problems
}

function parse(stdout: string): Record<string, unknown> | undefined {
  if (!stdout.endsWith('\n') || stdout.trimEnd().includes('\n')) return undefined
  try {
    const value: unknown = JSON.parse(stdout)
    const isObject = typeof value === 'object' && value !== null && !Array.isArray(value)
    return isObject ? (value as Record<string, unknown>) : undefined
  } catch (failure) {
    if (failure instanceof SyntaxError) return undefined
    throw failure
  }
}

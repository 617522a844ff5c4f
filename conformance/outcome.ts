import { type JsonObject, isObject } from '../e2e/netns/harness/json.ts'

/** One run of a plugin: all that it can see. */
export interface Invocation {
  readonly executable: string
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>
  readonly stdin: string
  /** Standard input is this file instead: one that cannot be read, such as a folder. */
  readonly stdinPath?: string
}

/** What a plugin did. */
export interface Outcome extends Invocation {
  /** `null` when a signal ended it. */
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
  /** True when the suite killed it because it did not end. */
  readonly isTimedOut: boolean
  /** True when the suite killed it because a check wanted that. */
  readonly isKilled: boolean
  readonly printed: Printed
}

/** What standard output holds. */
export type Printed =
  | { readonly kind: 'nothing' }
  | { readonly kind: 'document'; readonly json: JsonObject }
  | { readonly kind: 'malformed' }

/** Reads standard output by the rule that it is nothing or one JSON object. */
export function parsePrinted(stdout: string): Printed {
  if (stdout === '') return { kind: 'nothing' }
  try {
    const json: unknown = JSON.parse(stdout)
    return isObject(json) ? { kind: 'document', json } : { kind: 'malformed' }
  } catch {
    // That it is no JSON is the answer, not a failure.
    return { kind: 'malformed' }
  }
}

/** The document that was printed, or `undefined`. */
export function documentOf({ printed }: Outcome): JsonObject | undefined {
  return printed.kind === 'document' ? printed.json : undefined
}

/** The code of the error that was printed, or `undefined`. */
export function codeOf(outcome: Outcome): number | undefined {
  const code = documentOf(outcome)?.['code']
  return typeof code === 'number' ? code : undefined
}

/** All words of an error, message and details. */
export function wordsOf(outcome: Outcome): string {
  const { msg, details } = documentOf(outcome) ?? {}
  return [msg, details].filter(text => typeof text === 'string').join('; ')
}

/** An outcome in one line, for reports. */
export function describeOutcome(outcome: Outcome): string {
  const { exitCode, isTimedOut, stdout, stderr } = outcome
  const end = isTimedOut ? 'did not end' : exitCode === null ? 'was ended by a signal' : `exit code ${exitCode}`
  const said = [
    stdout === '' ? 'no output' : `printed ${shorten(stdout)}`,
    ...(stderr === '' ? [] : [`stderr ${shorten(stderr)}`]),
  ]
  return `${outcome.env['CNI_COMMAND'] ?? 'no CNI_COMMAND'}: ${end}, ${said.join(', ')}`
}

/** Characters of output that a line of a report holds. */
const MAX_SHOWN = 400

function shorten(text: string): string {
  const line = text.trim().replaceAll(/\s+/g, ' ')
  return line.length <= MAX_SHOWN ? line : `${line.slice(0, MAX_SHOWN)}…`
}

import type { Stage } from './stage.ts'

/**
 * Why a check asks what it asks.
 *
 * - `must`, `should`: the specification says so, in these words or as a plain statement of what a plugin does.
 * - `our-reading`: the specification can be read otherwise; a plugin that differs is shown as differing, not as failing.
 * - `library`: the specification is silent, and the reference library (skel, libcni) does so: runtimes have come to rely on it.
 * - `lesson`: neither asks for it; it is what broke in the field.
 */
export type Basis = 'must' | 'should' | 'our-reading' | 'library' | 'lesson'

/** What a check says of a plugin. `differs` is a failure of a check that is our reading of the specification. */
export type Verdict = 'pass' | 'fail' | 'differs' | 'not-applicable'

/** The letter that an id begins with. */
export type Area = 'E' | 'C' | 'O' | 'A' | 'D' | 'K' | 'G' | 'S' | 'V' | 'X' | 'P'

/** What a plugin must offer, so that a check can ask anything of it. */
export type Need =
  'interface' | 'CHECK' | 'GC' | 'STATUS' | 'ipam' | 'addresses' | 'reference-plugins' | 'exhaustible' | 'outage'

/** One promise, and how to see whether it is kept. */
export interface Check {
  /** Area and number, then words: `K2.address-gone`. */
  readonly id: `${Area}${number}.${string}`
  readonly basis: Basis
  /** Where the promise is made: `SPEC 1.1.0, section 2, ADD`. */
  readonly source: string
  /** What is expected, as a sentence. */
  readonly expected: string
  readonly needs?: readonly Need[]
  /** The check that asks what is left behind, when it is not this one's question. Otherwise leaving something fails it. */
  readonly leftoversAskedBy?: Check['id']
  /**
   * Plays the runtime, and tells the stage what it saw.
   *
   * @throws {NotApplicable} when the question makes no sense for this plugin.
   * @throws {Unmet} when something fails without which the question cannot be asked.
   */
  readonly run: (stage: Stage) => Promise<void>
}

/** What has to work before a check can ask its question did not work. It counts as a failure of the check. */
export class Unmet extends Error {
  override readonly name = 'Unmet'
}

/** Why a check cannot be applied to a plugin. It is no failure. */
export class NotApplicable extends Error {
  override readonly name = 'NotApplicable'
}

/** The area of a check. */
export function areaOf({ id }: Pick<Check, 'id'>): Area {
  // The type of `id` says that its first letter is one.
  return id.charAt(0) as Area
}

/** Sections of the specification, written out once. */
export const SPEC = {
  configuration: 'SPEC 1.1.0, section 1, "Configuration format"',
  versions: 'SPEC 1.1.0, section 1, "Version considerations"',
  parameters: 'SPEC 1.1.0, section 2, "Parameters"',
  errors: 'SPEC 1.1.0, section 2, "Errors"',
  add: 'SPEC 1.1.0, section 2, "ADD"',
  del: 'SPEC 1.1.0, section 2, "DEL"',
  check: 'SPEC 1.1.0, section 2, "CHECK"',
  gc: 'SPEC 1.1.0, section 2, "GC"',
  status: 'SPEC 1.1.0, section 2, "STATUS"',
  version: 'SPEC 1.1.0, section 2, "VERSION"',
  lifecycle: 'SPEC 1.1.0, section 3, "Lifecycle & Ordering"',
  deriving: 'SPEC 1.1.0, section 3, "Deriving request configuration"',
  delegation: 'SPEC 1.1.0, section 4, "Delegated plugin execution procedure"',
  result: 'SPEC 1.1.0, section 5, "ADD Success"',
  versionResult: 'SPEC 1.1.0, section 5, "VERSION Success"',
  error: 'SPEC 1.1.0, section 5, "Error"',
  conventions: 'CONVENTIONS, "Dynamic Plugin specific fields"',
  skel: 'reference library 1.3, pkg/skel',
  args: 'reference library 1.3, pkg/types LoadArgs',
  libcni: 'reference library 1.3, libcni',
} as const

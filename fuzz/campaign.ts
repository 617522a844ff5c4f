import fc from 'fast-check'
import type { CaseReport } from './run-plugin-case.ts'

/** A kind of input: how its cases are made, and what becomes of each. */
export interface Subject<Case> {
  readonly name: string
  readonly cases: fc.Arbitrary<Case>
  run(each: Case): Promise<CaseReport>
}

/** How far a campaign goes, and where it begins. */
export interface CampaignOptions {
  readonly cases: number
  /** The same seed makes the same cases. */
  readonly seed: number
  /** Of a failure that was printed: begins with that case. */
  readonly path?: string | undefined
}

/** What a campaign found. */
export interface CampaignReport {
  /** How often each outcome was seen, most often first. */
  readonly outcomes: readonly (readonly [outcome: string, times: number])[]
  /** The smallest case that fails, with what is wrong and how to run it again; undefined when none did. */
  readonly failure?: string
}

/** Runs cases until one fails, and makes that one smaller. */
export async function runCampaign<Case>(subject: Subject<Case>, options: CampaignOptions): Promise<CampaignReport> {
  const { cases: numRuns, seed, path } = options
  const counts = new Map<string, number>()
  const property = fc.asyncProperty(subject.cases, async each => {
    const { outcome, problems } = await subject.run(each)
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
    if (problems.length > 0) throw new Error(problems.join('\n'))
  })
  const details = await fc.check(property, { numRuns, seed, ...(path === undefined ? {} : { path }) })
  const outcomes = [...counts].toSorted((a, b) => b[1] - a[1])
  if (!details.failed) return { outcomes }
  const [smallest] = details.counterexample ?? []
  const problems =
    details.errorInstance instanceof Error ? details.errorInstance.message : String(details.errorInstance)
  const again = `npm run fuzz -- --only ${subject.name} --seed ${seed} --path ${details.counterexamplePath ?? '0'}`
  return { outcomes, failure: `${problems}\nagain: ${again}\ncase: ${JSON.stringify(smallest)}` }
}

/** A seed from the clock, where none is given. */
export function anySeed(): number {
  return Date.now() & 0x7fff_ffff
}

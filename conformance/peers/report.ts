import { asObject, asObjects, asString } from '../../e2e/netns/harness/json.ts'
import type { Verdict } from '../check.ts'
import type { Step } from '../transcript.ts'

/** A report as it is kept, as far as the page shows it. */
export interface Report {
  readonly title: string
  readonly version: string
  readonly date: string
  /** Checks that were asked again later than `date`. */
  readonly renewed: readonly Renewal[]
  readonly findings: readonly ReportFinding[]
}

export interface Renewal {
  readonly date: string
  readonly ids: readonly string[]
}

export interface ReportFinding {
  readonly id: string
  readonly basis: string
  readonly source: string
  readonly expected: string
  readonly verdict: Verdict
  readonly seen: readonly string[]
  readonly steps: readonly Step[]
}

const VERDICTS: ReadonlySet<string> = new Set(['pass', 'fail', 'differs', 'not-applicable'])

/** @throws {Error} naming `file`, when it is no report of this format. */
export function parseReport(text: string, file: string): Report {
  const report = asObject(JSON.parse(text), file)
  if (report['format'] !== 'cni-conformance/1')
    throw new Error(`${file}: format is ${JSON.stringify(report['format'])}`)
  return {
    title: asString(report['title'], `${file}: title`),
    version: asString(report['version'], `${file}: version`),
    date: asString(report['date'], `${file}: date`),
    renewed: asObjects(report['renewed'] ?? [], `${file}: renewed`).map(({ date, ids }) => ({
      date: asString(date, `${file}: renewed[].date`),
      ids: Array.isArray(ids) ? ids.map(String) : [],
    })),
    findings: asObjects(report['findings'], `${file}: findings`).map(finding => {
      const { id, basis, source, expected, verdict, seen, steps } = finding
      if (typeof verdict !== 'string' || !VERDICTS.has(verdict))
        throw new Error(`${file}: verdict ${JSON.stringify(verdict)}`)
      return {
        id: asString(id, `${file}: id`),
        basis: asString(basis, `${file}: basis`),
        source: asString(source, `${file}: source`),
        expected: asString(expected, `${file}: expected`),
        verdict: verdict as Verdict,
        seen: Array.isArray(seen) ? seen.map(String) : [],
        // What the suite wrote itself, and only the page shows.
        steps: asObjects(steps, `${file}: steps`) as unknown as readonly Step[],
      }
    }),
  }
}

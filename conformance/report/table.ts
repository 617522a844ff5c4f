import { areaOf } from '../check.ts'
import type { Finding } from '../suite.ts'

const MARKS = { pass: 'pass', fail: 'FAIL', differs: 'differs', 'not-applicable': '-' } as const

/** How many checks said what. */
export interface Counts {
  readonly pass: number
  readonly fail: number
  readonly differs: number
  readonly 'not-applicable': number
}

export function countVerdicts(findings: readonly Pick<Finding, 'verdict'>[]): Counts {
  const count = (verdict: Finding['verdict']): number => findings.filter(finding => finding.verdict === verdict).length
  return {
    pass: count('pass'),
    fail: count('fail'),
    differs: count('differs'),
    'not-applicable': count('not-applicable'),
  }
}

/** A table for people: one line for each check, what was seen under those that are not as expected, and a total. */
export function renderTable(findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ id }) => id.length))
  const lines = findings.flatMap(finding => {
    const head = `${MARKS[finding.verdict].padEnd(8)}${finding.id.padEnd(width + 2)}${finding.basis.padEnd(13)}${finding.expected}`
    const isTold = finding.verdict === 'fail' || finding.verdict === 'differs'
    return [head, ...(isTold ? finding.seen.map(text => `${' '.repeat(8)}seen: ${text}`) : [])]
  })
  const areas = [...Map.groupBy(findings, areaOf)].map(
    ([area, found]) =>
      `${area} ${countVerdicts(found).pass}/${found.filter(({ verdict }) => verdict !== 'not-applicable').length}`,
  )
  return `${lines.join('\n')}\n\n${areas.join('  ')}\n${renderCounts(countVerdicts(findings))}\n`
}

export function renderCounts({ pass, fail, differs, 'not-applicable': skipped }: Counts): string {
  return `${pass} pass, ${fail} fail, ${differs} differ from our reading, ${skipped} not applicable`
}

import type { Finding } from '../suite.ts'

/** The first lines of a TAP stream. */
export function tapHeader(count: number): string {
  return `TAP version 14\n1..${count}\n`
}

/** One test point. What differs from our reading alone does not fail the run, and says so. */
export function tapLine(finding: Finding, number: number): string {
  const { id, verdict, expected, seen, source, basis } = finding
  const title = `${id} - ${expected.replaceAll('#', String.raw`\#`)}`
  if (verdict === 'pass') return `ok ${number} - ${title}\n`
  if (verdict === 'not-applicable') return `ok ${number} - ${title} # SKIP ${seen.join('; ')}\n`
  const directive = verdict === 'differs' ? ' # TODO our reading of the specification' : ''
  const block = { basis, source, seen, reproduce: finding.steps.map(({ command }) => command) }
  const yaml = JSON.stringify(block, null, 2)
    .split('\n')
    .map(line => `  ${line}\n`)
    .join('')
  return `not ok ${number} - ${title}${directive}\n  ---\n${yaml}  ...\n`
}

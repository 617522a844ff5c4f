/**
 * Holds a CNI plugin against the specification: `npm run conformance -- --conflist FILE --cni-path DIR`.
 *
 * Everything happens in namespaces of this process's own, which nothing else on the machine can see or disturb.
 */
import '../e2e/netns/harness/isolated.ts'
import { writeFileSync } from 'node:fs'
import { type Arguments, USAGE, parseArguments } from './arguments.ts'
import { selectChecks } from './checks/all.ts'
import { jsonReport } from './report/json.ts'
import { countVerdicts, renderCounts, renderTable } from './report/table.ts'
import { tapHeader, tapLine } from './report/tap.ts'
import { type Finding, runSuite } from './suite.ts'

try {
  process.exitCode = await main(parseArguments(process.argv.slice(2), process.env['PATH'] ?? ''))
} catch (cause) {
  process.stderr.write(`conformance: ${cause instanceof Error ? cause.message : String(cause)}\n\n${USAGE}`)
  process.exitCode = 2
}

async function main({ subject, only, format, jsonFile }: Arguments): Promise<number> {
  const checks = selectChecks(only)
  if (format === 'tap') process.stdout.write(tapHeader(checks.length))
  let number = 0
  function onFinding(finding: Finding): void {
    number += 1
    if (format === 'tap') process.stdout.write(tapLine(finding, number))
    else process.stderr.write(`\r${number}/${checks.length} ${finding.id.padEnd(40)}`)
  }
  const findings = await runSuite(subject, { checks, onFinding })
  if (format === 'table') process.stdout.write(`\n${renderTable(findings)}`)
  const counts = countVerdicts(findings)
  if (jsonFile !== undefined) writeFileSync(jsonFile, `${JSON.stringify(jsonReport(subject, findings), null, 2)}\n`)
  // A table ends with it.
  if (format === 'tap') process.stderr.write(`\n${renderCounts(counts)}\n`)
  return counts.fail === 0 ? 0 : 1
}

import type { Finding } from '../suite.ts'
import type { Subject } from '../subject.ts'
import { countVerdicts } from './table.ts'

/** A report as it is kept: everything that is needed to see a failure again. */
export function jsonReport(subject: Subject, findings: readonly Finding[]): object {
  const { name, conflist, cniPath, setup } = subject
  return {
    format: 'cni-conformance/1',
    specification: '1.1.0',
    subject: { name, conflist, cniPath, ...(setup === undefined ? {} : { setup }) },
    date: new Date().toISOString(),
    counts: countVerdicts(findings),
    findings,
  }
}

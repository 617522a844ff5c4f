import { Fields } from '../../lib/ipam/fields.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import type { Command } from '../command.ts'
import { ExitCode } from '../exit-code.ts'
import { renderTable } from '../table.ts'
import { understood } from '../understood.ts'

export const CHECK: Command = {
  name: 'check',
  summary: 'compare the store with the kernel, in both directions',
  details: 'Changes nothing. Exit code 4 when they differ. docs/ipamd.md says what each finding means.',
  operands: [],
  options: [],
  prepare: () => async ask => {
    const document = await ask.get(PATHS.check)
    const findings = understood(ask, document, parseFindings)
    if (findings.length === 0) return { document, text: () => 'the store and the kernel agree\n' }
    const rows = findings.map(({ kind, detail }) => [{ text: kind, format: 'yellow' as const }, detail])
    return { document, text: style => renderTable(HEADER, { rows, style }), exitCode: ExitCode.problems }
  },
}

const HEADER = ['FINDING', 'DETAIL']

interface Finding {
  /** Any text: a newer ipamd knows more kinds. */
  readonly kind: string
  readonly detail: string
}

function parseFindings(value: unknown): readonly Finding[] {
  return Fields.of(value, 'reply').list('findings', (item, path) => {
    const fields = Fields.of(item, path)
    return { kind: fields.string('kind'), detail: fields.string('detail') }
  })
}

import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import { parseHistoryReply, type HistoryReply, type Tenure } from '../../lib/ipam/inspection.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import { formatAddress, parseAddress } from '../../lib/net/address.ts'
import type { Command } from '../command.ts'
import { parsedArgument, parsedOption } from '../input.ts'
import { formatMoment, parseMoment } from '../moment.ts'
import { queryOf } from '../read-leases.ts'
import type { Style } from '../style.ts'
import { renderTable, type Cell } from '../table.ts'
import { understood } from '../understood.ts'
import { podCell } from './leases.ts'

export const HISTORY: Command = {
  name: 'history',
  summary: 'show who held an address, the latest first',
  details: `--at takes a time of day (14:03, the last one), 2026-11-23T14:03, or RFC 3339 with a zone. Without a zone it is UTC, as is
every time that is printed.`,
  operands: [{ name: 'ADDRESS' }],
  options: ['at'],
  prepare({ operands, options, nowUnixMs }) {
    const address = parsedArgument(operands[0] ?? '', { name: 'ADDRESS', parse: parseAddress })
    const atUnixMs = parsedOption(options, { name: 'at', parse: text => parseMoment(text, nowUnixMs) })
    const asked = { address: formatAddress(address), at: atUnixMs?.toString() }
    return async ask => {
      const document = await ask.get(`${PATHS.history}${queryOf(asked)}`)
      const reply = understood(ask, document, parseHistoryReply)
      return { document, text: style => render(reply, { style, nobody: nobodyText(asked.address, atUnixMs) }) }
    }
  },
}

const HEADER = ['FROM', 'UNTIL', 'POD', 'ATTACHMENT', 'POOL', 'ENDED BY']

function render({ tenures, hasMore }: HistoryReply, { style, nobody }: { style: Style; nobody: string }): string {
  if (tenures.length === 0) return nobody
  const table = renderTable(HEADER, { rows: tenures.map(rowOf), style })
  return hasMore ? `${table}older ones are left out: --at TIME asks for one moment\n` : table
}

function rowOf({ leasedAtUnixMs, releasedAtUnixMs, reason, detail, pod, attachment, pool }: Tenure): readonly Cell[] {
  return [
    // Its beginning has left the history, which is kept for a time.
    leasedAtUnixMs === undefined ? 'earlier' : formatMoment(leasedAtUnixMs),
    releasedAtUnixMs === undefined ? { text: 'now', format: 'green' } : formatMoment(releasedAtUnixMs),
    podCell(pod),
    attachmentKeyText(attachment),
    pool,
    [reason, detail].filter(text => text !== undefined).join(': '),
  ]
}

function nobodyText(address: string, atUnixMs: number | undefined): string {
  const when = atUnixMs === undefined ? '' : ` at ${formatMoment(atUnixMs)}`
  return `nobody held ${address}${when}, as far back as the history goes\n`
}

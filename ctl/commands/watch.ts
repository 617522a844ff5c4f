import { attachmentKeyText } from '../../lib/ipam/attachment.ts'
import { eventFromWire, type EventRecord } from '../../lib/ipam/inspection.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import { formatAddress } from '../../lib/net/address.ts'
import { ParseError } from '../../lib/net/parse-error.ts'
import { quoteText } from '../../lib/net/quote-text.ts'
import type { Ask } from '../ask.ts'
import type { Command, Shown } from '../command.ts'
import { parsedOption } from '../input.ts'
import { formatMoment } from '../moment.ts'
import { printable } from '../printable.ts'
import { queryOf } from '../read-leases.ts'
import { understood } from '../understood.ts'
import { podCell } from './leases.ts'

export const WATCH: Command = {
  name: 'watch',
  summary: 'show changes as they happen, until it is interrupted',
  details: `Each line begins with the number of the event: --since NUMBER shows all that happened after that one, as far back as the
history goes. With --output json: a document on each line. It fails (exit code 3) when ipamd ends.`,
  operands: [],
  options: ['since'],
  prepare({ options }) {
    const since = parsedOption(options, { name: 'since', parse: checkNumber })
    return async ask => ({ parts: changes(ask, `${PATHS.events}${queryOf({ since })}`) })
  },
}

function checkNumber(text: string): string {
  if (!/^\d{1,15}$/.test(text)) throw new ParseError(`${quoteText(text)}: want the number of an event`)
  return text
}

async function* changes(ask: Ask, path: string): AsyncGenerator<Shown> {
  for await (const { name, document } of ask.follow(path)) {
    if (name === 'lost') {
      yield { document, text: style => style('yellow', 'some events are missing here: they have left the history\n') }
      continue
    }
    const event = understood(ask, document, eventFromWire)
    yield { document, text: () => `${render(event)}\n` }
  }
}

/** The widest kind that there is today. */
const KIND_WIDTH = 'block-returned'.length

function render(event: EventRecord): string {
  const { id, atUnixMs, kind, address, block, pod, attachment, owner, pool, reason, detail } = event
  const why = [reason, detail].filter(text => text !== undefined).join(': ')
  const parts = [
    String(id),
    formatMoment(atUnixMs),
    kind.padEnd(KIND_WIDTH),
    address === undefined ? block : formatAddress(address),
    pod === undefined ? undefined : podCell(pod),
    attachment === undefined ? undefined : attachmentKeyText(attachment),
    owner === undefined ? undefined : `for ${owner}`,
    pool,
    why === '' ? undefined : `(${why})`,
  ]
  return printable(parts.filter(part => part !== undefined).join('  '))
}

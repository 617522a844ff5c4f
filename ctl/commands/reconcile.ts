import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import { Fields, parsedAt } from '../../lib/ipam/fields.ts'
import { attachmentFromWire } from '../../lib/ipam/lease.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import type { Command } from '../command.ts'
import type { Style } from '../style.ts'
import { renderTable, type Cell } from '../table.ts'
import { understood } from '../understood.ts'

export const RECONCILE: Command = {
  name: 'reconcile',
  summary: 'free leases whose pods are gone, and repair routes, now',
  details: `ipamd does this by itself from time to time. A lease is freed when it looked stale for the whole grace, so one that is only
watched here may be freed by the next round. --dry-run shows what would be done, and changes nothing.`,
  operands: [],
  options: ['dry-run'],
  prepare({ options }) {
    const path = options['dry-run'] === true ? `${PATHS.reconcile}?dryRun=true` : PATHS.reconcile
    return async ask => {
      const document = await ask.post(path, {})
      const reply = understood(ask, document, parseReply)
      return { document, text: style => render(reply, style) }
    }
  },
}

interface Stale {
  readonly attachment: AttachmentKey
  readonly reason: string
  readonly sinceMs: number
}

interface Reply {
  readonly dryRun: boolean
  readonly freed: readonly Stale[]
  readonly watched: readonly Stale[]
  readonly removedLinks: readonly string[]
  readonly repairedBlocks: readonly string[]
}

function parseReply(value: unknown): Reply {
  const fields = Fields.of(value, 'reply')
  return {
    dryRun: fields.boolean('dryRun'),
    freed: fields.list('freed', parseStale),
    watched: fields.list('watched', parseStale),
    removedLinks: fields.list('removedLinks', parseName),
    repairedBlocks: fields.list('repairedBlocks', parseName),
  }
}

function parseStale(value: unknown, path: string): Stale {
  const fields = Fields.of(value, path)
  const attachment = attachmentFromWire(fields.object('attachment'))
  return { attachment, reason: fields.string('reason'), sinceMs: fields.count('sinceMs') }
}

function parseName(value: unknown, path: string): string {
  return parsedAt(value, path, text => text)
}

const HEADER = ['ACTION', 'SUBJECT', 'REASON']

function render({ dryRun, freed, watched, removedLinks, repairedBlocks }: Reply, style: Style): string {
  const done = (action: string): Cell => (dryRun ? `would ${action}` : { text: action, format: 'yellow' })
  const rows: (readonly Cell[])[] = [
    ...freed.map(stale => [done('free'), attachmentKeyText(stale.attachment), reasonOf(stale)]),
    ...removedLinks.map(link => [done('remove link'), link, 'unfinished']),
    ...repairedBlocks.map(block => [done('add route'), block, 'missing']),
    ...watched.map(stale => ['watch', attachmentKeyText(stale.attachment), reasonOf(stale)]),
  ]
  return rows.length === 0 ? 'nothing to do\n' : renderTable(HEADER, { rows, style })
}

function reasonOf({ reason, sinceMs }: Stale): string {
  return `${reason}, for ${Math.floor(sinceMs / 1000)} s`
}

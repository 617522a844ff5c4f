import { formatAddress, parseAddress, type Address } from '../net/address.ts'
import { ParseError } from '../net/parse-error.ts'
import { attachmentHash, type AttachmentKey } from './attachment.ts'
import { Fields, parsedAt, shown } from './fields.ts'
import { attachmentFromWire, attachmentToWire } from './lease.ts'

/** The format of an entry. The number rises when an older reader could misunderstand a newer entry. */
export const SPOOL_FORMAT = 'tulle-release/1'

/** Longest entry that is read. An attachment and a few addresses are some hundred bytes. */
export const MAX_SPOOL_ENTRY_BYTES = 16 * 1024

/** The folder of entries, beside the daemon's socket. */
export const SPOOL_DIR_NAME = 'spool'

/** A release that DEL could not hand to ipamd. It is a file in the spool until the daemon has committed it (checklist R13). */
export interface SpoolEntry {
  readonly attachment: AttachmentKey
  /** The addresses that were released, when DEL knew them: a lease that has others is not freed. */
  readonly addresses?: readonly Address[] | undefined
  /** When DEL let go of the attachment. Only for people who read the file: the cooldown begins when the daemon frees. */
  readonly releasedAtUnixMs: number
}

/**
 * The file name of the attachment's entry. It is derived, so that one look tells whether an attachment has an entry and a
 * repeated DEL replaces its own. Two attachments of one name are told apart by the entry's content.
 */
export function spoolFileName(attachment: AttachmentKey): string {
  return `${attachmentHash(attachment)}.json`
}

export function encodeSpoolEntry(entry: SpoolEntry): string {
  const document = {
    format: SPOOL_FORMAT,
    attachment: attachmentToWire(entry.attachment),
    addresses: entry.addresses?.map(formatAddress),
    releasedAtUnixMs: entry.releasedAtUnixMs,
  }
  return `${JSON.stringify(document)}\n`
}

/** @throws {ParseError} when the text is not an entry of this format: nothing may be freed by a guess (checklist R35). */
export function decodeSpoolEntry(text: string): SpoolEntry {
  const fields = Fields.of(parseJson(text), 'entry')
  const format = fields.value['format']
  if (format !== SPOOL_FORMAT) throw new ParseError(`entry.format: ${shown(format)}: want "${SPOOL_FORMAT}"`)
  fields.only(['format', 'attachment', 'addresses', 'releasedAtUnixMs'])
  return {
    attachment: attachmentFromWire(fields.object('attachment').only(['network', 'containerId', 'ifName'])),
    addresses: fields.optionalList('addresses', (item, path) => parsedAt(item, path, parseAddress)),
    releasedAtUnixMs: fields.count('releasedAtUnixMs'),
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new ParseError(`entry: not JSON: ${(cause as SyntaxError).message}`, { cause })
  }
}

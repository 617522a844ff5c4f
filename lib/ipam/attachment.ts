import { parseIfName } from '../net/if-name.ts'
import { ParseError } from '../net/parse-error.ts'
import { quoteText } from '../net/quote-text.ts'

/** One interface of one container on one network: the key of every lease, lock and spool entry. */
export interface AttachmentKey {
  readonly network: string
  readonly containerId: string
  readonly ifName: string
}

/** Longest network name and container ID that the daemon takes, in bytes. The plugin's own bounds are narrower. */
export const MAX_NAME_BYTES = 255

// CNI SPEC 1.1.0, section 2: the charset of container IDs and of network names. It has no '/', which attachmentKeyText()
// relies on.
const CNI_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/

/**
 * Checks that the three parts are what CNI allows (checklist E4, E5, E6).
 *
 * @throws {ParseError} naming the part, its value and what was wanted.
 */
export function parseAttachmentKey(parts: AttachmentKey): AttachmentKey {
  checkCniName('network', parts.network)
  checkCniName('containerId', parts.containerId)
  return { network: parts.network, containerId: parts.containerId, ifName: parseIfName(parts.ifName) }
}

/** True when the three parts are what CNI allows. */
export function isAttachmentKey(parts: AttachmentKey): boolean {
  try {
    parseAttachmentKey(parts)
    return true
  } catch (failure) {
    if (failure instanceof ParseError) return false
    throw failure
  }
}

/** Checks one network name or container ID. @throws {ParseError} naming `field`, its value and what was wanted. */
export function checkCniName(field: string, text: string): string {
  // The charset is ASCII, so characters are bytes.
  if (text.length > MAX_NAME_BYTES || !CNI_NAME.test(text)) {
    throw new ParseError(
      `${field}: ${quoteText(text)}: want 1 to ${MAX_NAME_BYTES} characters of a-z A-Z 0-9 _ . -, a letter or digit first`,
    )
  }
  return text
}

/** The attachment as one text, for maps and messages. Unambiguous: no part of a valid attachment has a slash. */
export function attachmentKeyText(attachment: AttachmentKey): string {
  return `${attachment.network}/${attachment.containerId}/${attachment.ifName}`
}

/** True when both are the same attachment. */
export function equalAttachments(a: AttachmentKey, b: AttachmentKey): boolean {
  return a.network === b.network && a.containerId === b.containerId && a.ifName === b.ifName
}

const FNV_OFFSET_BASIS = 0xcbf29ce484222325n
const FNV_PRIME = 0x100000001b3n
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'

/**
 * Thirteen characters of [a-z2-7] that stand for the attachment in file and interface names: base32 of FNV-1a (64 bit) over
 * attachmentKeyText() in UTF-8.
 *
 * Not a cryptographic hash: node:crypto adds milliseconds to the start of an executable that runs for each pod, and nothing
 * trusts the hash. Whoever finds a file or a link by it compares the full attachment before acting.
 */
export function attachmentHash(attachment: AttachmentKey): string {
  const hash = fnv1a64(attachmentKeyText(attachment))
  let text = ''
  // 13 digits of 5 bits hold 65 bits: the first digit carries the top 4.
  for (let shift = 60n; shift >= 0n; shift -= 5n) text += BASE32.charAt(Number((hash >> shift) & 31n))
  return text
}

/** FNV-1a, 64 bit, over `text` in UTF-8. */
export function fnv1a64(text: string): bigint {
  let hash = FNV_OFFSET_BASIS
  for (const byte of new TextEncoder().encode(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * FNV_PRIME)
  return hash
}

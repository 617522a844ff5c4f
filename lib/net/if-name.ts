import { ParseError } from './parse-error.ts'
import { quoteText } from './quote-text.ts'

declare const ifNameBrand: unique symbol

/** The name of a network interface that the Linux kernel would take. */
export type IfName = string & { readonly [ifNameBrand]: true }

/** IFNAMSIZ is 16, and its last byte is NUL. */
const MAX_BYTES = 15

/**
 * Parses an interface name (CNI checklist E5).
 *
 * The kernel counts bytes and looks for white space byte by byte, so this does too. What the kernel would take but not
 * mean literally is refused: "%" asks it to choose a number, "all" and "default" are folders of /proc/sys/net.
 *
 * @throws {ParseError} naming the text and the rule that it breaks.
 */
export function parseIfName(text: string): IfName {
  const wanted = brokenRule(text)
  if (wanted !== undefined) throw new ParseError(`Cannot use interface name ${quoteText(text)}: want ${wanted}`)
  return text as IfName // every rule holds
}

function brokenRule(text: string): string | undefined {
  if (text === '') return 'at least one character'
  if (!text.isWellFormed()) return 'text that UTF-8 can hold'
  const bytes = new TextEncoder().encode(text)
  if (bytes.length > MAX_BYTES) return `at most ${MAX_BYTES} bytes, not ${bytes.length}`
  if (text === '.' || text === '..') return 'a name other than "." and ".."'
  // In the kernel's isspace() the byte 0xa0 is white space, so it refuses "à" (c3 a0). U+0085 is white space to Go only.
  if (/[\s\u0085]/.test(text) || bytes.includes(0xa0)) return 'no white space'
  if (/[/:%\0]/.test(text)) return 'none of "/", ":", "%" and NUL'
  if (text === 'all' || text === 'default') return 'a name that is no folder of /proc/sys/net/ipv4/conf'
  return undefined
}

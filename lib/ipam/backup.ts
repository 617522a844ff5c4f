import { ParseError } from '../net/parse-error.ts'
import { quoteText } from '../net/quote-text.ts'
import { Fields } from './fields.ts'

/** PATH_MAX of Linux, less its NUL. */
const MAX_PATH_LENGTH = 4095

/** POST /v1/backup: the absolute path of the file, which must not exist. ipamd writes it. */
export function parseBackupRequest(value: unknown): string {
  return Fields.of(value, 'request').only(['file']).parsed('file', checkFile)
}

function checkFile(text: string): string {
  if (!text.startsWith('/') || text.includes('\0') || text.length > MAX_PATH_LENGTH) {
    throw new ParseError(`${quoteText(text)}: want an absolute path of at most ${MAX_PATH_LENGTH} characters`)
  }
  return text
}

/** How large the copy is. */
export function parseBackupReply(value: unknown): { readonly file: string; readonly bytes: number } {
  const fields = Fields.of(value, 'reply')
  return { file: fields.string('file'), bytes: fields.count('bytes') }
}

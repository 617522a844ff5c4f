import { parseBackupReply } from '../../lib/ipam/backup.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import { ParseError } from '../../lib/net/parse-error.ts'
import { quoteText } from '../../lib/net/quote-text.ts'
import type { Command } from '../command.ts'
import { parsedArgument } from '../input.ts'
import { printable } from '../printable.ts'
import { understood } from '../understood.ts'

export const BACKUP: Command = {
  name: 'backup',
  summary: 'write a copy of the store, while ipamd runs',
  details: `FILE is an absolute path where no file is yet, and ipamd writes it: it is a path of ipamd's file system. The copy is an SQLite
file that ipamd takes as its ipam.db. What is leased after the copy was made is not in it.`,
  operands: [{ name: 'FILE', isFile: true }],
  options: [],
  prepare({ operands }) {
    const file = parsedArgument(operands[0] ?? '', { name: 'FILE', parse: checkFile })
    return async ask => {
      const document = await ask.post(PATHS.backup, { file })
      const { bytes } = understood(ask, document, parseBackupReply)
      return { document, text: () => `wrote ${printable(file)}, ${bytes} bytes\n` }
    }
  },
}

// ipamd has another working directory.
function checkFile(text: string): string {
  if (!text.startsWith('/')) throw new ParseError(`${quoteText(text)}: want an absolute path`)
  return text
}

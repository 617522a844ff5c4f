import type { Operand, Synopsis } from './command.ts'
import { SYNOPSES } from './commands.ts'
import { COMMON_OPTIONS, optionCalled, type OptionName } from './options.ts'

const EXIT_CODES = `Exit codes:
  0  done
  1  ipamd refused or failed, or is not ready
  2  wrong arguments; nothing was asked
  3  nobody answers on the socket, or not in time
  4  check found problems
`

/** The help of tullectl. */
export function renderUsage(): string {
  return `Usage: tullectl [OPTION ...] COMMAND [ARGUMENT ...]

Asks ipamd, which leases pod addresses, over its Unix socket.

Commands:
${listing(SYNOPSES.map(each => [synopsisOf(each), each.summary]))}
Options of every command:
${listing([...COMMON_OPTIONS, 'version' as const].map(optionLine))}
${EXIT_CODES}
\`tullectl help COMMAND\` has the options of a command.
`
}

/** The help of one command. */
export function renderCommandUsage(command: Synopsis): string {
  const details = command.details === undefined ? '' : `\n${command.details}\n`
  const own = command.options.length === 0 ? '' : `\nOptions:\n${listing(command.options.map(optionLine))}`
  return `Usage: tullectl ${synopsisOf(command)}${command.options.length === 0 ? '' : ' [OPTION ...]'}

${capitalised(command.summary)}.
${details}${own}`
}

function synopsisOf({ name, operands }: Synopsis): string {
  return [name, ...operands.map(shown)].join(' ')
}

function shown({ name, isOptional, values }: Operand): string {
  const text = values === undefined ? name : values.join('|')
  return isOptional === true ? `[${text}]` : text
}

function optionLine(name: OptionName): readonly [string, string] {
  const { argument, summary } = optionCalled(name)
  return [`--${name}${argument === undefined ? '' : ` ${argument}`}`, summary]
}

function listing(lines: readonly (readonly [string, string])[]): string {
  const width = Math.max(...lines.map(([left]) => left.length))
  return lines.map(([left, right]) => `  ${left.padEnd(width)}  ${right}\n`).join('')
}

function capitalised(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`
}

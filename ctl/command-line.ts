import { parseArgs } from 'node:util'
import { DEFAULT_SOCKET_PATH } from '../lib/cni/tulle-configuration.ts'
import { ParseError } from '../lib/net/parse-error.ts'
import { quoteText } from '../lib/net/quote-text.ts'
import type { Action, Input, Synopsis } from './command.ts'
import { COMMANDS, LOCAL_COMMANDS, SYNOPSES } from './commands.ts'
import { isShell, type Shell } from './shells.ts'
import { textOption } from './input.ts'
import { COMMON_OPTIONS, DEFAULT_TIMEOUT_SECONDS, OPTION_NAMES, optionCalled, OUTPUTS, type Output } from './options.ts'
import { UsageError } from './usage-error.ts'

/** A day: more is a slip of the pen, and more than 24 days would be no time at all for a timer of Node. */
const MAX_TIMEOUT_SECONDS = 86_400

/** What the arguments ask for. */
export type CommandLine =
  | { readonly do: 'help'; readonly command: Synopsis | undefined }
  | { readonly do: 'version' }
  | { readonly do: 'completion'; readonly shell: Shell }
  | { readonly do: 'run'; readonly settings: Settings; readonly action: Action }
  | { readonly do: 'refuse'; readonly reason: string }

export interface Settings {
  readonly socketPath: string
  readonly output: Output
  readonly timeoutMs: number
}

/**
 * Reads the arguments of tullectl. Options may stand before and behind the command.
 *
 * @param args those after the name of the program.
 */
export function parseCommandLine(args: readonly string[], nowUnixMs: number): CommandLine {
  try {
    return read(args, nowUnixMs)
  } catch (cause) {
    if (cause instanceof UsageError || cause instanceof ParseError) return { do: 'refuse', reason: cause.message }
    throw cause
  }
}

function read(args: readonly string[], nowUnixMs: number): CommandLine {
  const { options, positionals } = split(args)
  const [name, ...given] = positionals
  if (options.version === true) return { do: 'version' }
  if (name === undefined) {
    if (options.help === true) return { do: 'help', command: undefined }
    throw new UsageError(`no command: want one of ${namesOf(SYNOPSES)}`)
  }
  const synopsis = synopsisOf(name)
  if (options.help === true) return { do: 'help', command: synopsis }
  refuseForeignOptions(synopsis, options)
  const operands = operandsOf(synopsis, given)
  const command = COMMANDS.find(each => each === synopsis)
  if (command === undefined) return readLocal(synopsis, operands[0])
  return { do: 'run', settings: settingsOf(options), action: command.prepare({ options, operands, nowUnixMs }) }
}

/** The commands that answer by themselves. */
function readLocal(synopsis: Synopsis, operand: string | undefined): CommandLine {
  switch (synopsis) {
    case LOCAL_COMMANDS.help:
      return { do: 'help', command: operand === undefined ? undefined : synopsisOf(operand) }
    case LOCAL_COMMANDS.completion:
      if (operand === undefined || !isShell(operand)) throw new UsageError('completion: want the name of a shell')
      return { do: 'completion', shell: operand }
    default:
      return { do: 'version' }
  }
}

function split(args: readonly string[]): { options: Input['options']; positionals: readonly string[] } {
  const config = Object.fromEntries(
    OPTION_NAMES.map(name => [
      name,
      { type: optionCalled(name).argument === undefined ? 'boolean' : 'string' } as const,
    ]),
  )
  const { values, positionals, tokens } = parse(args, config)
  const seen = new Set<string>()
  for (const token of tokens) {
    if (token.kind !== 'option') continue
    if (seen.has(token.name)) throw new UsageError(`--${token.name}: given twice, want it once`)
    seen.add(token.name)
  }
  return { options: values, positionals }
}

function parse(args: readonly string[], options: Readonly<Record<string, { readonly type: 'boolean' | 'string' }>>) {
  try {
    return parseArgs({ args: [...args], options, strict: true, allowPositionals: true, tokens: true })
  } catch (cause) {
    throw new UsageError((cause as Error).message, { cause })
  }
}

function synopsisOf(name: string): Synopsis {
  const found = SYNOPSES.find(each => each.name === name)
  if (found === undefined) throw new UsageError(`${quoteText(name)}: no such command, want one of ${namesOf(SYNOPSES)}`)
  return found
}

function namesOf(synopses: readonly Synopsis[]): string {
  return synopses.map(each => each.name).join(', ')
}

function refuseForeignOptions(command: Synopsis, options: Input['options']): void {
  const known: readonly string[] = [...COMMON_OPTIONS, ...command.options]
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue
    throw new UsageError(`--${name}: ${command.name} has no such option, want one of --${known.join(', --')}`)
  }
}

function operandsOf({ name, operands }: Synopsis, given: readonly string[]): Input['operands'] {
  const missing = operands.find((operand, index) => operand.isOptional !== true && given[index] === undefined)
  if (missing !== undefined) throw new UsageError(`${name}: ${missing.name} is missing`)
  const excess = given[operands.length]
  if (excess !== undefined) throw new UsageError(`${name}: ${quoteText(excess)}: one argument too many`)
  return operands.map(({ name: what, values }, index) => {
    const value = given[index]
    if (value !== undefined && values?.includes(value) === false) {
      throw new UsageError(`${what}: ${quoteText(value)}: want one of ${values.join(', ')}`)
    }
    return value
  })
}

function settingsOf(options: Input['options']): Settings {
  const socketPath = textOption(options, 'socket') ?? DEFAULT_SOCKET_PATH
  if (socketPath === '') throw new UsageError('--socket: "": want the path of a socket')
  const output = textOption(options, 'output') ?? 'table'
  if (!isOutput(output)) throw new UsageError(`--output: ${quoteText(output)}: want one of ${OUTPUTS.join(', ')}`)
  const timeout = textOption(options, 'timeout') ?? String(DEFAULT_TIMEOUT_SECONDS)
  const timeoutMs = /^\d{1,5}(?:\.\d{1,3})?$/.test(timeout) ? Number(timeout) * 1000 : 0
  if (timeoutMs <= 0 || timeoutMs > MAX_TIMEOUT_SECONDS * 1000) {
    throw new UsageError(
      `--timeout: ${quoteText(timeout)}: want seconds, more than 0 and at most ${MAX_TIMEOUT_SECONDS}`,
    )
  }
  return { socketPath, output, timeoutMs }
}

function isOutput(text: string): text is Output {
  return OUTPUTS.some(each => each === text)
}

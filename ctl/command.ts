import type { Ask } from './ask.ts'
import type { ExitCode } from './exit-code.ts'
import type { OptionName } from './options.ts'
import type { Style } from './style.ts'

/** What is shown, in either form. */
export interface Shown {
  /** For `--output json`: what ipamd answered, so that a member which only a newer daemon has is not lost. */
  readonly document: object
  /** For people; each line ended by a newline. */
  readonly text: (style: Style) => string
}

/** What a command has found out. */
export interface Report extends Shown {
  /** When absent: 0. */
  readonly exitCode?: ExitCode
}

/** What a command goes on finding out. It ends by throwing, or when nobody reads it any more. */
export interface Stream {
  readonly parts: AsyncIterable<Shown>
}

/** The arguments of a command: those beside options, and its options. */
export interface Input {
  /** As many as the command has operands; undefined for an optional one that was left out. */
  readonly operands: readonly (string | undefined)[]
  readonly options: Readonly<Partial<Record<OptionName, string | true>>>
  readonly nowUnixMs: number
}

/** An argument that is no option. */
export interface Operand {
  /** As help shows it, in capitals. */
  readonly name: string
  readonly isOptional?: boolean
  /** What it can be, when that is a closed set. */
  readonly values?: readonly string[]
  /** True when it is the path of a file, for completion. */
  readonly isFile?: boolean
}

/** What a command does once its arguments are read. */
export type Action = (ask: Ask) => Promise<Report | Stream>

/** How a command is called. */
export interface Synopsis {
  readonly name: string
  /** One line, for the list of commands. */
  readonly summary: string
  /** Whole sentences for the help of the command. */
  readonly details?: string
  readonly operands: readonly Operand[]
  /** Its own options, beside those that all commands have. */
  readonly options: readonly OptionName[]
}

/** A command that asks ipamd. */
export interface Command extends Synopsis {
  /** Reads the arguments. Asks nothing. @throws {UsageError} */
  readonly prepare: (input: Input) => Action
}

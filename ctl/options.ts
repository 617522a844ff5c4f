import { DEFAULT_SOCKET_PATH } from '../lib/cni/tulle-configuration.ts'

/** One option: it has an argument, or is a switch. */
export interface Option {
  readonly summary: string
  /** The argument as help shows it; a switch has none. */
  readonly argument?: string
  /** What the argument can be, when that is a closed set. */
  readonly values?: readonly string[]
}

export const OUTPUTS = ['table', 'json'] as const
export type Output = (typeof OUTPUTS)[number]

export const DEFAULT_TIMEOUT_SECONDS = 10

/** Every option of every command. The same name means the same everywhere. */
export const OPTIONS = {
  socket: { argument: 'PATH', summary: `the socket of ipamd (default: ${DEFAULT_SOCKET_PATH})` },
  output: { argument: 'FORMAT', values: OUTPUTS, summary: 'table (default) or json' },
  timeout: { argument: 'SECONDS', summary: `how long to wait for ipamd (default: ${DEFAULT_TIMEOUT_SECONDS})` },
  help: { summary: 'print help' },
  version: { summary: 'print the version' },
  pool: { argument: 'NAME', summary: 'only this pool' },
  network: { argument: 'NAME', summary: 'only this network' },
  pod: { argument: 'NAMESPACE/NAME', summary: 'only this pod' },
  address: { argument: 'ADDRESS', summary: 'only the lease of this address' },
  at: { argument: 'TIME', summary: 'only who held it at this time' },
  note: { argument: 'TEXT', summary: 'for people who read the reservations' },
  since: { argument: 'NUMBER', summary: 'begin behind this event' },
  'dry-run': { summary: 'show what would be done, and change nothing' },
  force: { summary: 'do it, although a running pod may use the address' },
} as const satisfies Readonly<Record<string, Option>>

export type OptionName = keyof typeof OPTIONS

/** Those that every command has. */
export const COMMON_OPTIONS: readonly OptionName[] = ['socket', 'output', 'timeout', 'help']

export const OPTION_NAMES = Object.keys(OPTIONS) as readonly OptionName[]

/** The option as one of the closed set that options have in common. */
export function optionCalled(name: OptionName): Option {
  return OPTIONS[name]
}

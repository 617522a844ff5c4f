import type { Command, Synopsis } from './command.ts'
import { BACKUP } from './commands/backup.ts'
import { BLOCKS } from './commands/blocks.ts'
import { CHECK } from './commands/check.ts'
import { END_GRANTS } from './commands/end-grants.ts'
import { HISTORY } from './commands/history.ts'
import { LEASES } from './commands/leases.ts'
import { POD_CIDRS } from './commands/pod-cidrs.ts'
import { POOLS } from './commands/pools.ts'
import { RECONCILE } from './commands/reconcile.ts'
import { RELEASE } from './commands/release.ts'
import { RESERVATIONS } from './commands/reservations.ts'
import { RESERVE } from './commands/reserve.ts'
import { STATUS } from './commands/status.ts'
import { UNRESERVE } from './commands/unreserve.ts'
import { WATCH } from './commands/watch.ts'
import { SHELLS } from './shells.ts'

/** The commands that ask ipamd, as help lists them. */
export const COMMANDS: readonly Command[] = [
  STATUS,
  POOLS,
  BLOCKS,
  POD_CIDRS,
  END_GRANTS,
  LEASES,
  HISTORY,
  RESERVATIONS,
  RESERVE,
  UNRESERVE,
  RELEASE,
  CHECK,
  RECONCILE,
  BACKUP,
  WATCH,
]

/** The commands that answer by themselves. */
export const LOCAL_COMMANDS = {
  completion: {
    name: 'completion',
    summary: 'print a completion script for a shell',
    details: `bash: source <(tullectl completion bash)
zsh:  source <(tullectl completion zsh)
fish: tullectl completion fish | source`,
    operands: [{ name: 'SHELL', values: SHELLS }],
    options: [],
  },
  help: {
    name: 'help',
    summary: 'print help, of one command when it is named',
    operands: [{ name: 'COMMAND', isOptional: true }],
    options: [],
  },
  version: { name: 'version', summary: 'print the version', operands: [], options: [] },
} as const satisfies Readonly<Record<string, Synopsis>>

/** Every command. */
export const SYNOPSES: readonly Synopsis[] = [...COMMANDS, ...Object.values(LOCAL_COMMANDS)]

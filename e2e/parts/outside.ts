import type { Command } from './command.ts'

/** Names a process that is outside the namespaces in which an isolated test runs: see e2e/netns/harness/isolation.ts. */
export const OUTSIDE_PID_VARIABLE = 'TULLE_E2E_OUTSIDE_PID'

/**
 * Returns `command` as it has to be run to see the machine's own network and files: a download needs both.
 *
 * An isolated test has neither a route to the world nor the machine's /run, where resolv.conf often lives. Outside of an
 * isolated test the command is returned as it is.
 */
export function outside(command: Command, workingFolder = '/'): Command {
  const pid = process.env[OUTSIDE_PID_VARIABLE]
  if (pid === undefined) return command
  return ['nsenter', `--target=${pid}`, '--mount', '--net', `--wdns=${workingFolder}`, '--', ...command]
}

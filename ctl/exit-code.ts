/** What `$?` says. docs/ipamd.md has the same list for people. */
export const ExitCode = {
  ok: 0,
  /** ipamd refused or failed, or is not ready. */
  failed: 1,
  /** The arguments are wrong: nothing was asked. */
  usage: 2,
  /** Nobody answered on the socket, or not in time. */
  unreachable: 3,
  /** `check` found something. */
  problems: 4,
} as const

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode]

/** Members of one log line beside `time`, `level` and `msg`. */
export type LogFields = Readonly<Record<string, unknown>>

/** The log of a daemon. */
export interface Log {
  info(msg: string, fields?: LogFields): void
  warn(msg: string, fields?: LogFields): void
  error(msg: string, fields?: LogFields): void
}

/** A log that writes one JSON object for each line: `{"time": …, "level": …, "msg": …, …}`. An error is shown by its message. */
export function jsonLog(write: (line: string) => void): Log {
  function line(level: string, msg: string, fields: LogFields = {}): void {
    write(`${JSON.stringify({ time: new Date().toISOString(), level, msg, ...fields }, showError)}\n`)
  }
  return {
    info: (msg, fields) => line('info', msg, fields),
    warn: (msg, fields) => line('warn', msg, fields),
    error: (msg, fields) => line('error', msg, fields),
  }
}

function showError(_key: string, value: unknown): unknown {
  if (value instanceof Error) return value.message
  return typeof value === 'bigint' ? value.toString() : value
}

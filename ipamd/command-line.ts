import { parseArgs } from 'node:util'
import { MAX_WAIT_SECONDS, parseWaitSeconds } from '../lib/os/wait-seconds.ts'

export const DEFAULT_CONFIG_PATH = '/etc/tulle/ipamd.json'

export const USAGE = `Usage: ipamd [--config FILE] [--wait SECONDS]

Leases pod addresses over a Unix socket.

  --config FILE  configuration, JSON (default: ${DEFAULT_CONFIG_PATH})
  --wait SECONDS how long another ipamd with the same folders may take to end (default: 0, at most ${MAX_WAIT_SECONDS})
  --version      print the version
  --help         print this
`

export type CommandLine =
  | { readonly do: 'serve'; readonly configPath: string; readonly waitMs: number }
  | { readonly do: 'help' }
  | { readonly do: 'version' }
  | { readonly do: 'refuse'; readonly reason: string }

/**
 * Reads the arguments of ipamd.
 *
 * @param args those after the name of the program. In a single executable, `process.argv[1]` is the name of the executable
 *   again, so there as elsewhere the arguments are `process.argv.slice(2)`.
 */
export function parseCommandLine(args: readonly string[]): CommandLine {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        config: { type: 'string' },
        wait: { type: 'string', default: '0' },
        version: { type: 'boolean' },
        help: { type: 'boolean' },
      },
      strict: true,
    })
    if (values.help === true) return { do: 'help' }
    if (values.version === true) return { do: 'version' }
    const waitSeconds = parseWaitSeconds(values.wait)
    if (waitSeconds === undefined) {
      return { do: 'refuse', reason: `--wait ${values.wait}: want seconds, 0 to ${MAX_WAIT_SECONDS}` }
    }
    return { do: 'serve', configPath: values.config ?? DEFAULT_CONFIG_PATH, waitMs: waitSeconds * 1000 }
  } catch (cause) {
    return { do: 'refuse', reason: (cause as Error).message }
  }
}

import { parseArgs } from 'node:util'

export const DEFAULT_CONFIG_PATH = '/etc/tulle/ipamd.json'

export const USAGE = `Usage: ipamd [--config FILE]

Leases pod addresses over a Unix socket.

  --config FILE  configuration, JSON (default: ${DEFAULT_CONFIG_PATH})
  --version      print the version
  --help         print this
`

export type CommandLine =
  | { readonly do: 'serve'; readonly configPath: string }
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
      options: { config: { type: 'string' }, version: { type: 'boolean' }, help: { type: 'boolean' } },
      strict: true,
    })
    if (values.help === true) return { do: 'help' }
    if (values.version === true) return { do: 'version' }
    return { do: 'serve', configPath: values.config ?? DEFAULT_CONFIG_PATH }
  } catch (cause) {
    return { do: 'refuse', reason: (cause as Error).message }
  }
}

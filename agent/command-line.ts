import { parseArgs } from 'node:util'
import { MAX_WAIT_SECONDS, parseWaitSeconds } from '../lib/os/wait-seconds.ts'

export const DEFAULT_CONFIG_PATH = '/etc/tulle/agent.json'

export const USAGE = `Usage: tulle-agent [run] [--config FILE] [--node NAME] [--server URL | --kubeconfig FILE] [--wait SECONDS]
       tulle-agent install [--config FILE]
       tulle-agent uninstall [--config FILE] [--purge]

Joins this node with the others of a cluster: routes to their pods, this node's pod CIDRs to ipamd.

  run                joins the node, until it is told to stop (the default)
  install            puts the executables on the node, and ends
  uninstall          takes everything of Tulle off the node, and ends

  --config FILE      configuration, JSON (default: ${DEFAULT_CONFIG_PATH}, which may be missing)
  --node NAME        name of this node's Node object (default: the configuration, then NODE_NAME)
  --server URL       the API server (default: the configuration, then what Kubernetes gives to a pod)
  --kubeconfig FILE  the API server and the credentials, a kubeconfig in JSON
  --wait SECONDS     how long another agent, which has our port, may take to end (default: 0, at most ${MAX_WAIT_SECONDS})
  --purge            with uninstall: also what ipamd has stored, and the folder of its socket
  --version          print the version
  --help             print this
`

const COMMANDS = ['run', 'install', 'uninstall'] as const

export interface Options {
  readonly configPath: string | undefined
  readonly node: string | undefined
  readonly server: string | undefined
  readonly kubeconfig: string | undefined
  readonly purge: boolean
  readonly waitMs: number
}

export type CommandLine =
  | { readonly do: (typeof COMMANDS)[number]; readonly options: Options }
  | { readonly do: 'help' }
  | { readonly do: 'version' }
  | { readonly do: 'refuse'; readonly reason: string }

/** Reads the arguments of tulle-agent: those after the name of the program. */
export function parseCommandLine(args: readonly string[]): CommandLine {
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        config: { type: 'string' },
        node: { type: 'string' },
        server: { type: 'string' },
        kubeconfig: { type: 'string' },
        wait: { type: 'string', default: '0' },
        purge: { type: 'boolean' },
        version: { type: 'boolean' },
        help: { type: 'boolean' },
      },
      strict: true,
    })
    if (values.help === true) return { do: 'help' }
    if (values.version === true) return { do: 'version' }
    const [name = 'run', ...rest] = positionals
    const command = COMMANDS.find(known => known === name)
    if (command === undefined || rest.length > 0) {
      return { do: 'refuse', reason: `${positionals.join(' ')}: want one of ${COMMANDS.join(', ')}` }
    }
    if (values.server !== undefined && values.kubeconfig !== undefined) {
      return { do: 'refuse', reason: '--server and --kubeconfig: want one of them' }
    }
    const waitSeconds = parseWaitSeconds(values.wait)
    if (waitSeconds === undefined) {
      return { do: 'refuse', reason: `--wait ${values.wait}: want seconds, 0 to ${MAX_WAIT_SECONDS}` }
    }
    const { config, node, server, kubeconfig, purge = false } = values
    return { do: command, options: { configPath: config, node, server, kubeconfig, purge, waitMs: waitSeconds * 1000 } }
  } catch (cause) {
    return { do: 'refuse', reason: (cause as Error).message }
  }
}

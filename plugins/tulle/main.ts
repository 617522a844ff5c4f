import process from 'node:process'
import { handle } from '../../lib/attach/handle.ts'
import { DEFAULT_SOCKET_PATH } from '../../lib/cni/tulle-configuration.ts'
import { parseFallback } from '../../lib/ipam/fallback.ts'
import { traceContextOfEnv } from '../../lib/ipam/trace-context.ts'
import { noteFallback } from '../../lib/os/fallback-note.ts'
import { printOutcome, runOfProcess, stderrLog } from '../../lib/os/plugin-process.ts'
import { loadAddon } from '../../native/addon.ts'
import { executableEdges } from './edges.ts'

/** The CNI plugin: one run, from the environment and standard input to one document and an exit code. */
export async function main({ addonPath }: { readonly addonPath: string }): Promise<void> {
  const { env } = process
  const addon = loadAddon(addonPath)
  const log = stderrLog('tulle', traceContextOfEnv(env))
  const outcome = await handle(runOfProcess(env, addon), executableEdges({ env: withoutLauncher(env), addon, log }))
  printOutcome(outcome)
  process.exitCode = outcome.exitCode
  // Last: whoever waits has its answer.
  tellOfFallback(env, log)
}

/** The environment that other plugins get: what the launcher says is between the two of us. */
function withoutLauncher(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { TULLE_FALLBACK: _fallback, TULLE_ASKED_AT: _askedAt, ...rest } = env
  return rest
}

/** Nobody should run ten times slower without knowing: ipamd counts what its launcher could not give to it. */
function tellOfFallback(env: NodeJS.ProcessEnv, log: (line: string) => void): void {
  const fallback = parseFallback(env['CNI_COMMAND'], env['TULLE_FALLBACK'])
  if (fallback === undefined) return
  const { verb, reason } = fallback
  log(`${verb} was done without ipamd: ${reason}`)
  const failure = noteFallback(env['TULLE_IPAMD_SOCKET'] || DEFAULT_SOCKET_PATH, fallback)
  if (failure !== undefined) log(`ipamd will not know of it: ${failure}`)
}

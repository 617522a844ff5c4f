import process from 'node:process'
import { handle } from '../../lib/attach/handle.ts'
import { printOutcome, runOfProcess, stderrLog } from '../../lib/os/plugin-process.ts'
import { loadAddon } from '../../native/addon.ts'
import { executableEdges } from './edges.ts'

/** The CNI plugin: one run, from the environment and standard input to one document and an exit code. */
export async function main({ addonPath }: { readonly addonPath: string }): Promise<void> {
  const { env } = process
  const addon = loadAddon(addonPath)
  const outcome = await handle(runOfProcess(env, addon), executableEdges({ env, addon, log: stderrLog('tulle') }))
  printOutcome(outcome)
  process.exitCode = outcome.exitCode
}

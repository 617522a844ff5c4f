import { launcherFlags, launcherSources, type LauncherArch } from '../plugins/launcher/build.ts'
import { replaceFile } from './atomic.ts'
import { hashOf, hashOfFiles, unlessDone } from './memory.ts'
import { runQuietly } from './run-command.ts'
import { ourFiles } from './source-files.ts'

const TIMEOUT_MS = 60_000

/**
 * Builds the launcher of this machine's architecture.
 *
 * @returns true when there was something to do. @throws {Error} with the compiler's words.
 */
export async function buildLauncher(target: string): Promise<boolean> {
  const arch = launcherArch()
  const version = await runQuietly(['gcc', '--version'], { timeoutMs: TIMEOUT_MS })
  const sources = await hashOfFiles(ourFiles('plugins/launcher/*.[ch]'))
  const key = hashOf([version, sources, ...launcherFlags(arch)])
  return unlessDone({ name: 'launcher', key, outputs: [target] }, () =>
    replaceFile(target, async temporary => {
      const command = ['gcc', ...launcherFlags(arch), '-o', temporary, ...(await launcherSources())] as const
      await runQuietly(command, { timeoutMs: TIMEOUT_MS })
    }),
  )
}

function launcherArch(): LauncherArch {
  const { arch } = process
  if (arch === 'x64' || arch === 'arm64') return arch
  throw new Error(`Tulle is built on linux-x64 and linux-arm64, not on ${arch}`)
}

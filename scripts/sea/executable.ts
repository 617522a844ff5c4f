import { chmod, copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { replaceFile } from '../atomic.ts'
import { hashOf, hashOfFiles, unlessDone } from '../memory.ts'
import { runQuietly } from '../run-command.ts'
import { ourFiles } from '../source-files.ts'
import { bundle } from './bundle.ts'
import { strippedNode } from './stripped-node.ts'

/** A relative path, because stacks show it: they are to be the same whoever built. */
const SCRIPT = 'tulle.js'
const RECIPE = 'sea.json'

/**
 * Makes the executable: Node with our code in a start-up snapshot, so that starting it neither reads nor compiles a script.
 *
 * @returns true when there was something to do.
 */
export async function buildExecutable(target: string): Promise<boolean> {
  const [script, node] = await Promise.all([bundle(), strippedNode()])
  const key = hashOf([script, node, await hashOfFiles(ourFiles('scripts/sea/*.ts'))])
  return unlessDone({ name: 'executable', key, outputs: [target] }, () =>
    replaceFile(target, temporary => assemble(temporary, script, node)),
  )
}

async function assemble(output: string, script: string, node: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'tulle-build-'))
  try {
    const made = join(folder, 'tulle-node')
    await writeFile(join(folder, SCRIPT), script)
    await writeFile(join(folder, RECIPE), JSON.stringify(seaConfiguration(node, made)))
    await runQuietly([process.execPath, '--build-sea', RECIPE], { timeoutMs: 120_000, cwd: folder })
    // Last: rewriting the ELF file for the snapshot corrupts what patchelf changed. Forced, because libstdc++ must find
    // libgcc_s through it too, which DT_RUNPATH would not do.
    await runQuietly(['patchelf', '--force-rpath', '--set-rpath', '$ORIGIN/lib', made], { timeoutMs: 60_000 })
    await copyFile(made, output)
    await chmod(output, 0o755)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** What `node --build-sea` is to do, in the folder where the script is. */
function seaConfiguration(executable: string, output: string): object {
  return {
    main: SCRIPT,
    executable,
    output,
    useSnapshot: true,
    // Saves 5 of 38 ms at each start; bin/main.ts takes it back once the snapshot is read. docs/adr/0005 has the price.
    execArgv: ['--no-rehash-snapshot'],
    disableExperimentalSEAWarning: true,
    // The caller's NODE_OPTIONS must not reach a program that a container runtime starts as root.
    execArgvExtension: 'none',
  }
}

import { copyFile, realpath } from 'node:fs/promises'
import { isAbsolute, join } from 'node:path'
import { replaceFile } from '../atomic.ts'
import { hashOfFiles, unlessDone } from '../memory.ts'
import { runQuietly } from '../run-command.ts'

/**
 * What Node needs beside glibc. A node's host may lack them: kind's node images have no libatomic1, some distributions no
 * libstdc++. The executable finds them in `lib/` beside itself.
 */
const LIBRARIES = ['libatomic.so.1', 'libgcc_s.so.1', 'libstdc++.so.6'] as const

/** Copies the machine's own libraries into `folder`. They are part of GCC, under its Runtime Library Exception. */
export async function copyLibraries(folder: string): Promise<void> {
  const sources = await Promise.all(LIBRARIES.map(findLibrary))
  const outputs = LIBRARIES.map(name => join(folder, name))
  await unlessDone({ name: 'libraries', key: await hashOfFiles(sources), outputs }, async () => {
    for (const [index, output] of outputs.entries()) {
      await replaceFile(output, temporary => copyFile(sources[index] ?? '', temporary))
    }
  })
}

/** @throws {Error} when the compiler does not know the library: it then answers with the bare name. */
async function findLibrary(name: string): Promise<string> {
  const path = (await runQuietly(['gcc', `-print-file-name=${name}`], { timeoutMs: 10_000 })).trim()
  if (!isAbsolute(path)) throw new Error(`gcc does not find ${name}`)
  return realpath(path)
}

import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { replaceFile } from './atomic.ts'
import { BUILD_CACHE } from './paths.ts'

/** A step of the build, what decides its outcome, and the files that it leaves. */
export interface Step {
  /** Unique, and fit for a file name. */
  readonly name: string
  /** Hash of everything that the outcome depends on. */
  readonly key: string
  readonly outputs: readonly string[]
}

/**
 * Does `work` unless it succeeded before with the same key and its outputs are still the files that it left then.
 *
 * @returns true when there was something to do.
 * @throws {Error} what `work` throws, and ENOENT when it did not leave an output.
 */
export async function unlessDone(step: Step, work: () => Promise<void>): Promise<boolean> {
  const memory = join(BUILD_CACHE, `${step.name}.json`)
  const isThere = [memory, ...step.outputs].every(file => existsSync(file))
  if (isThere && (await readFile(memory, 'utf8')) === (await describe(step))) return false
  await work()
  const done = await describe(step)
  await replaceFile(memory, temporary => writeFile(temporary, done))
  return true
}

/** SHA-256 over `parts`, of which none can run into the next. */
export function hashOf(parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256')
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part) : part
    hash.update(`${bytes.length}:`).update(bytes)
  }
  return hash.digest('hex')
}

/** Hash of files by name and content. */
export async function hashOfFiles(files: readonly string[]): Promise<string> {
  const parts = await Promise.all(files.map(async file => [file, await readFile(file)] as const))
  return hashOf(parts.flat())
}

async function describe({ key, outputs }: Step): Promise<string> {
  const files = await Promise.all(
    outputs.map(async path => {
      const { size, mtimeMs } = await stat(path)
      return { path, size, mtimeMs }
    }),
  )
  return JSON.stringify({ key, files })
}

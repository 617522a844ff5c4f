import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { arch } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { promisify } from 'node:util'

const COMPILER = 'gcc'
const COMPILER_TIMEOUT_MS = 120_000
const FLAGS = [
  '-std=gnu17',
  '-O2',
  '-Wall',
  '-Wextra',
  '-Wshadow',
  '-Wvla',
  '-Werror',
  '-fstack-protector-strong',
  // Some compilers define it themselves, with another value.
  '-U_FORTIFY_SOURCE',
  '-D_FORTIFY_SOURCE=2',
  '-fvisibility=hidden',
  '-fPIC',
  '-shared',
  '-pthread',
  '-Wl,-z,relro,-z,now,-z,noexecstack',
] as const

const run = promisify(execFile)

/**
 * Builds the addon into `outFile`, unless it is there already, built from the same sources, headers and flags.
 *
 * What it was built from is kept in .cache/build, not beside the file: that folder is shipped. Several processes may build at
 * once: each puts a whole file in place.
 *
 * @throws {Error} with the compiler's words.
 */
export async function buildAddon(outFile: string): Promise<void> {
  const headers = nodeHeaders()
  const sources = await sourceFiles()
  const inputs = await hashOf([...sources, join(headers, 'node_api.h'), join(headers, 'js_native_api.h')])
  const stampFile = stampFileOf(outFile)
  const built = await stampFor(inputs, outFile)
  if (built !== undefined && built === (await bytesOf(stampFile))?.toString('utf8')) return

  await mkdir(dirname(outFile), { recursive: true })
  // A running process may have the old file mapped: it is replaced, never written to.
  await replaceFile(outFile, temporary => compile(sources, headers, temporary))
  const stamp = await stampFor(inputs, outFile)
  if (stamp === undefined) throw new Error(`Cannot build ${outFile}: it vanished after it was built`)
  await mkdir(dirname(stampFile), { recursive: true })
  await replaceFile(stampFile, temporary => writeFile(temporary, stamp))
}

function stampFileOf(outFile: string): string {
  const name = createHash('sha256').update(resolve(outFile)).digest('hex').slice(0, 16)
  return join(import.meta.dirname, '..', '.cache', 'build', `addon-${name}.stamp`)
}

async function compile(sources: readonly string[], headers: string, outFile: string): Promise<void> {
  const units = sources.filter(file => file.endsWith('.c'))
  try {
    await run(COMPILER, [...FLAGS, `-I${headers}`, '-o', outFile, ...units], { timeout: COMPILER_TIMEOUT_MS })
  } catch (cause) {
    throw new Error(`Cannot compile the native addon with ${COMPILER}: ${compilerWords(cause)}`, { cause })
  }
}

async function replaceFile(file: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = `${file}.${randomUUID()}.tmp`
  try {
    await make(temporary)
    await rename(temporary, file)
  } finally {
    await rm(temporary, { force: true })
  }
}

/** The headers of the Node that we ship, not of one that may be installed here. */
function nodeHeaders(): string {
  const manifest = createRequire(import.meta.url).resolve(`node-linux-${arch()}/package.json`)
  return join(dirname(manifest), 'include', 'node')
}

async function sourceFiles(): Promise<readonly string[]> {
  const names = await readdir(import.meta.dirname)
  return names
    .filter(name => /\.[ch]$/.test(name))
    .toSorted()
    .map(name => join(import.meta.dirname, name))
}

async function hashOf(files: readonly string[]): Promise<string> {
  const { stdout: compiler } = await run(COMPILER, ['--version'], { timeout: COMPILER_TIMEOUT_MS })
  const hash = createHash('sha256').update(compiler).update(FLAGS.join('\0'))
  for (const file of files) hash.update(`\0${basename(file)}\0`).update(await readFile(file))
  return hash.digest('hex')
}

/** The stamp that belongs to `outFile` as it is now; undefined when there is none. */
async function stampFor(inputs: string, outFile: string): Promise<string | undefined> {
  const bytes = await bytesOf(outFile)
  if (bytes === undefined) return undefined
  return `${inputs} ${createHash('sha256').update(bytes).digest('hex')}\n`
}

async function bytesOf(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

function compilerWords(error: unknown): string {
  if (error instanceof Error && 'stderr' in error && typeof error.stderr === 'string' && error.stderr !== '') {
    return error.stderr
  }
  return error instanceof Error ? error.message : String(error)
}

if (import.meta.main) {
  const outFile = process.argv[2]
  if (outFile === undefined) throw new Error('Cannot build: want the path of the file to write')
  await buildAddon(resolve(outFile))
}

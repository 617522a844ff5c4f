import { execFile } from 'node:child_process'
import { createHash, randomUUID } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { copyFile, lstat, mkdir, open, readdir, readlink, rename, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { isErrnoException, syncFolder } from '../../lib/os/durable-file.ts'

/** What a container runtime executes, and what that loads. */
export const PROGRAMS = ['tulle-node', 'tulle-ipam', 'tulle', 'tullectl'] as const
const LIBRARIES = 'lib'
const VERSION_TIMEOUT_MS = 20_000
const MODE = 0o755

const run = promisify(execFile)

export interface BinaryPaths {
  readonly from: string
  readonly to: string
}

/**
 * Puts the executables on the node: copied beside their place, flushed, tried by running VERSION, and only then renamed into
 * place (checklist R11). A pod that starts meanwhile finds the old ones or the new ones, and never half of one.
 *
 * @returns the names that were replaced; none when all are there already.
 * @throws {Error} when they do not run on this node. Nothing was replaced then.
 */
export async function installBinaries({ from, to }: BinaryPaths): Promise<readonly string[]> {
  const libraries = (await readdir(join(from, LIBRARIES))).map(name => join(LIBRARIES, name))
  // What they load goes first, and the name that the runtime calls last.
  const names = [...libraries, ...PROGRAMS]
  const changed: string[] = []
  for (const name of names) if (!(await isSame(join(from, name), join(to, name)))) changed.push(name)
  if (changed.length === 0) return []
  const staging = join(to, `.tulle-install-${randomUUID()}`)
  try {
    await mkdir(join(staging, LIBRARIES), { recursive: true })
    for (const name of names) await copyDurably(join(from, name), join(staging, name))
    await tryOut(staging)
    await mkdir(join(to, LIBRARIES), { recursive: true })
    for (const name of names) await rename(join(staging, name), join(to, name))
    for (const folder of [join(to, LIBRARIES), to]) syncFolder(folder)
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
  return changed
}

/** Removes them, and what was staged by an installation that was killed. Absence is success. */
export async function removeBinaries({ from, to }: BinaryPaths): Promise<void> {
  const libraries = (await readdir(join(from, LIBRARIES))).map(name => join(LIBRARIES, name))
  // The name that the runtime calls goes first.
  for (const name of [...PROGRAMS.toReversed(), ...libraries]) await rm(join(to, name), { force: true })
  const rest = await readdir(to).catch((failure: unknown) => {
    if (isErrnoException(failure) && failure.code === 'ENOENT') return []
    throw failure
  })
  for (const name of rest.filter(each => each.startsWith('.tulle-install-'))) {
    await rm(join(to, name), { recursive: true, force: true })
  }
  await removeIfEmpty(join(to, LIBRARIES))
}

async function removeIfEmpty(folder: string): Promise<void> {
  const rest = await readdir(folder).catch(() => ['unreadable or not there'])
  if (rest.length === 0) await rm(folder, { recursive: true })
}

/** The staged plugin has to answer VERSION: the wrong machine type, a missing library or a short copy shows here. */
async function tryOut(staging: string): Promise<void> {
  const executable = join(staging, 'tulle-node')
  const child = run(executable, [], {
    timeout: VERSION_TIMEOUT_MS,
    env: { CNI_COMMAND: 'VERSION' },
  })
  child.child.stdin?.end('{"cniVersion":"1.0.0"}')
  const { stdout } = await child
  const versions = (JSON.parse(stdout) as { readonly supportedVersions?: readonly string[] }).supportedVersions
  if (versions?.includes('1.0.0') !== true) throw new Error(`${executable} VERSION: ${stdout}: want supportedVersions`)
}

async function copyDurably(from: string, to: string): Promise<void> {
  const stat = await lstat(from)
  if (stat.isSymbolicLink()) return await symlink(await readlink(from), to)
  await copyFile(from, to)
  const file = await open(to, 'r+')
  try {
    await file.chmod(MODE)
    await file.sync()
  } finally {
    await file.close()
  }
  syncFolder(dirname(to))
}

async function isSame(a: string, b: string): Promise<boolean> {
  try {
    const [statA, statB] = [await lstat(a), await lstat(b)]
    if (statA.isSymbolicLink() || statB.isSymbolicLink()) {
      return statA.isSymbolicLink() && statB.isSymbolicLink() && (await readlink(a)) === (await readlink(b))
    }
    return statA.size === statB.size && (await hashOf(a)) === (await hashOf(b))
  } catch (failure) {
    if (isErrnoException(failure) && failure.code === 'ENOENT') return false
    throw failure
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

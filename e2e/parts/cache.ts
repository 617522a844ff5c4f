import { access, mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

/** Temporary folders of killed runs are removed after this time. */
const STALE_AFTER_MS = 24 * 3600 * 1000

/** The folder in which parts that come from outside are kept between runs, so that a second run needs no network. */
export function cacheFolder(): string {
  const { XDG_CACHE_HOME } = process.env
  // The XDG base directory specification: a relative path is to be ignored.
  const base = XDG_CACHE_HOME?.startsWith('/') === true ? XDG_CACHE_HOME : join(homedir(), '.cache')
  return join(base, 'tulle')
}

/**
 * Returns `<kind>/<key>` in the cache, made by `fill` when it is not there yet.
 *
 * `fill` works in a temporary folder beside it, and a rename publishes it: an entry is whole or absent, also when two
 * processes make the same one (the second to finish uses what the first made) or one is killed half-way.
 */
export async function cached(entry: CacheEntry, fill: (folder: string) => Promise<void>): Promise<string> {
  const parent = join(entry.cacheFolder ?? cacheFolder(), entry.kind)
  const target = join(parent, entry.key)
  if (await exists(target)) return target
  await mkdir(parent, { recursive: true })
  await removeStale(parent)
  const folder = await mkdtemp(join(parent, '.new-'))
  try {
    await fill(folder)
    await renameUnlessThere(folder, target)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return target
}

export interface CacheEntry {
  /** First folder level, for example `debian`. */
  readonly kind: string
  /** Second folder level: everything that the content depends on, as a file name. */
  readonly key: string
  /** Instead of `cacheFolder()`; for tests. */
  readonly cacheFolder?: string
}

async function renameUnlessThere(folder: string, target: string): Promise<void> {
  try {
    await rename(folder, target)
  } catch (cause) {
    // rename(2) refuses to replace a folder that is not empty: somebody else was faster, with the same content.
    if (!isErrno(cause, 'ENOTEMPTY') && !isErrno(cause, 'EEXIST')) throw cause
  }
}

async function removeStale(parent: string): Promise<void> {
  for (const name of await readdir(parent)) {
    if (!name.startsWith('.new-')) continue
    const path = join(parent, name)
    const found = await stat(path).catch(unlessMissing)
    if (found !== undefined && Date.now() - found.mtimeMs > STALE_AFTER_MS)
      await rm(path, { recursive: true, force: true })
  }
}

async function exists(path: string): Promise<boolean> {
  return (await access(path).then(() => true, unlessMissing)) ?? false
}

function unlessMissing(cause: unknown): undefined {
  if (!isErrno(cause, 'ENOENT')) throw cause
}

function isErrno(cause: unknown, code: string): boolean {
  return cause instanceof Error && 'code' in cause && cause.code === code
}

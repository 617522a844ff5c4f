import { closeSync, constants, fsyncSync, openSync, renameSync, unlinkSync, writeSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'

/**
 * Writes `text` to `path` so that after a loss of power the file is there whole, or is what it was before: a temporary file
 * beside it, fsync, rename, fsync of the folder (R41).
 *
 * `unique` makes the temporary file's name: two writers must not share it.
 */
export function writeDurably(path: string, text: string, unique: string): void {
  const folder = dirname(path)
  const temporary = join(folder, `.${basename(path)}.${unique}`)
  // A temporary file that is there already is another writer's: it is neither written to nor removed.
  withFile(temporary, 'wx', fd => {
    try {
      writeAll(fd, Buffer.from(text))
      fsyncSync(fd)
      renameSync(temporary, path)
    } catch (failure) {
      removeIfThere(temporary)
      throw failure
    }
  })
  syncFolder(folder)
}

/** Makes what was renamed, made or removed in a folder survive a loss of power. */
export function syncFolder(path: string): void {
  withFile(path, constants.O_RDONLY | constants.O_DIRECTORY, fsyncSync)
}

/** Removes a file. One that is not there is removed. */
export function removeIfThere(path: string): void {
  try {
    unlinkSync(path)
  } catch (failure) {
    if (!isErrnoException(failure) || failure.code !== 'ENOENT') throw failure
  }
}

/** True for what Node's file system functions throw. */
export function isErrnoException(failure: unknown): failure is NodeJS.ErrnoException & { readonly code: string } {
  return failure instanceof Error && 'code' in failure && typeof failure.code === 'string'
}

function withFile(path: string, flags: string | number, use: (fd: number) => void): void {
  const fd = openSync(path, flags, 0o600)
  try {
    use(fd)
  } finally {
    closeSync(fd)
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) written += writeSync(fd, bytes, written)
}

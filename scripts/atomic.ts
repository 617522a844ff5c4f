import { lstatSync } from 'node:fs'
import { mkdir, mkdtemp, readlink, rename, rm, symlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/**
 * Makes `target` by letting `make` write a file of another name in a folder beside it, then renames it into place: who
 * opens `target` sees the old one or the new one, whole, also while two builds run.
 */
export async function replaceFile(target: string, make: (temporary: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(target), { recursive: true })
  const folder = await mkdtemp(join(dirname(target), '.making-'))
  try {
    const temporary = join(folder, 'file')
    await make(temporary)
    await rename(temporary, target)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Makes `target` a symbolic link with the text `to`, unless it is that already. */
export async function ensureLink(target: string, to: string): Promise<void> {
  if (lstatSync(target, { throwIfNoEntry: false })?.isSymbolicLink() && (await readlink(target)) === to) return
  await replaceFile(target, temporary => symlink(to, temporary))
}

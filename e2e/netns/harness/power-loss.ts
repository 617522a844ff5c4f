import type { Random } from './random.ts'
import type { Step } from './store-trace.ts'

/** What a disk does with what was not synced when the power goes. */
export const LOSSES = ['all of it', 'none of it', 'any of it', 'any sector of it'] as const
export type Loss = (typeof LOSSES)[number]

/** The files of a folder, by name. */
export type Files = ReadonlyMap<string, Buffer>

const SECTOR_BYTES = 512

/** One file, whatever its name: names come and go with the folder. */
interface Inode {
  /** As it is after the last sync of the file. */
  readonly synced: Content
  /** Changes since then, in order. */
  readonly pending: Extract<Step, { do: 'write' | 'truncate' }>[]
}

/** What happens to names at once: each stands for another file then, or for none. */
type NameChange = readonly (readonly [string, Inode | undefined])[]

/**
 * What a disk may hold after `steps`, when the power goes then.
 *
 * Only what was synced counts: the content of a file by a sync of that file, its name by a sync of the folder. Of the rest
 * the disk may have kept any part, in any order; changes of names keep theirs, as on every journalling file system.
 */
export function afterPowerLoss(steps: readonly Step[], loss: Loss, random: Random): Files {
  const syncedNames = new Map<string, Inode>()
  const names = new Map<string, Inode>()
  let pendingNames: NameChange[] = []
  for (const step of steps) {
    switch (step.do) {
      case 'create': {
        const inode: Inode = { synced: new Content(), pending: [] }
        names.set(step.file, inode)
        pendingNames.push([[step.file, inode]])
        break
      }
      case 'unlink':
        names.delete(step.file)
        pendingNames.push([[step.file, undefined]])
        break
      case 'rename': {
        const inode = inodeOf(names, step.file)
        const both: NameChange = [
          [step.file, undefined],
          [step.to, inode],
        ]
        rename(names, both)
        pendingNames.push(both)
        break
      }
      case 'write':
      case 'truncate':
        inodeOf(names, step.file).pending.push(step)
        break
      case 'sync': {
        const inode = inodeOf(names, step.file)
        inode.synced.change(inode.pending)
        inode.pending.length = 0
        break
      }
      case 'sync-folder':
        for (const changes of pendingNames) rename(syncedNames, changes)
        pendingNames = []
        break
      case 'asked':
      case 'answered':
        break
    }
  }
  const keptNames = pendingNames.slice(0, howMany(pendingNames.length, loss, random))
  for (const changes of keptNames) rename(syncedNames, changes)
  return new Map([...syncedNames].map(([file, inode]) => [file, contentAfter(inode, loss, random)]))
}

function inodeOf(names: ReadonlyMap<string, Inode>, file: string): Inode {
  const inode = names.get(file)
  if (inode === undefined) throw new Error(`${file} was changed before it was made`)
  return inode
}

function rename(names: Map<string, Inode>, changes: NameChange): void {
  for (const [file, inode] of changes) {
    if (inode === undefined) names.delete(file)
    else names.set(file, inode)
  }
}

function howMany(count: number, loss: Loss, random: Random): number {
  if (loss === 'all of it') return 0
  return loss === 'none of it' ? count : random.below(count + 1)
}

function contentAfter({ synced, pending }: Inode, loss: Loss, random: Random): Buffer {
  synced.change(keptOf(pending, loss, random))
  return synced.bytes
}

function keptOf(pending: Inode['pending'], loss: Loss, random: Random): Inode['pending'] {
  switch (loss) {
    case 'all of it':
      return []
    case 'none of it':
      return pending
    case 'any of it':
      return pending.filter(() => random.below(2) === 0)
    case 'any sector of it':
      return pending.flatMap(step => torn(step, random))
  }
}

/** The sectors of a write that reached the disk. */
function torn(step: Inode['pending'][number], random: Random): Inode['pending'] {
  if (step.do === 'truncate') return random.below(2) === 0 ? [step] : []
  const sectors: Inode['pending'] = []
  // Sectors are those of the disk, not of the write.
  for (let from = step.offset; from < step.offset + step.bytes.length;) {
    const to = Math.min(step.offset + step.bytes.length, (Math.floor(from / SECTOR_BYTES) + 1) * SECTOR_BYTES)
    const bytes = step.bytes.subarray(from - step.offset, to - step.offset)
    if (random.below(2) === 0) sectors.push({ ...step, offset: from, bytes })
    from = to
  }
  return sectors
}

/** The content of a file, changed in place: a record has thousands of writes. */
class Content {
  #space = Buffer.alloc(64 * 1024)
  #length = 0

  get bytes(): Buffer {
    return this.#space.subarray(0, this.#length)
  }

  change(steps: Inode['pending']): void {
    for (const step of steps) {
      if (step.do === 'truncate') this.#truncate(step.length)
      else this.#write(step.offset, step.bytes)
    }
  }

  #truncate(length: number): void {
    this.#reserve(length)
    this.#space.fill(0, Math.min(this.#length, length), Math.max(this.#length, length))
    this.#length = length
  }

  #write(offset: number, bytes: Buffer): void {
    this.#reserve(offset + bytes.length)
    bytes.copy(this.#space, offset)
    this.#length = Math.max(this.#length, offset + bytes.length)
  }

  /** What lies beyond the length is zero, as the hole of a file is. */
  #reserve(length: number): void {
    if (length <= this.#space.length) return
    const larger = Buffer.alloc(Math.max(length, 2 * this.#space.length))
    this.#space.copy(larger)
    this.#space = larger
  }
}

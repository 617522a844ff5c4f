import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  unlinkSync,
  type BigIntStats,
} from 'node:fs'
import { join } from 'node:path'
import { syncFolder } from '../lib/os/durable-file.ts'
import { attachmentKeyText, type AttachmentKey } from '../lib/ipam/attachment.ts'
import { decodeSpoolEntry, MAX_SPOOL_ENTRY_BYTES, spoolFileName, type SpoolEntry } from '../lib/ipam/spool-entry.ts'
import { ParseError } from '../lib/net/parse-error.ts'
import type { LeaseService } from './lease-service.ts'
import type { Log } from '../lib/log/json-log.ts'

interface SpooledFile {
  readonly path: string
  readonly inode: bigint
  readonly entry: SpoolEntry
}

/** What carries out and tells of releases. */
export interface SpoolEdges {
  readonly service: Pick<LeaseService, 'release'>
  readonly log: Log
  readonly nowUnixMs: () => number
}

/** Releases that share a commit. */
const BATCH = 256
/** Releases that one turn carries out, in whole batches. */
const MAX_ENTRIES = 4096
/** What durable-file.ts writes before it renames. */
const HALF_WRITTEN = /^\..+\.json\.[0-9]+$/
const HALF_WRITTEN_KEEP_MS = 3_600_000

/**
 * The releases that DEL left while ipamd was down (checklist R13). The folder exists. A file goes away only after its
 * release is durable; one that is no entry is set aside as `*.bad` and logged, and stops no other (checklist R41).
 */
export class Spool {
  readonly #folder: string
  readonly #service: SpoolEdges['service']
  readonly #log: Log
  readonly #nowUnixMs: () => number

  constructor(folder: string, { service, log, nowUnixMs }: SpoolEdges) {
    this.#folder = folder
    this.#service = service
    this.#log = log
    this.#nowUnixMs = nowUnixMs
  }

  /**
   * Carries out the releases in the folder, up to MAX_ENTRIES of them: the rest is for the next turn. A file that can't be read
   * is logged, and stays. What writers that were killed left behind is removed.
   *
   * @throws {IpamProblem} when the store does not take them: the files stay. @throws the errno of the folder.
   */
  async replay(): Promise<void> {
    const names = readdirSync(this.#folder)
    this.#sweep(names.filter(name => HALF_WRITTEN.test(name)))
    const entries = names.filter(name => name.endsWith('.json') && !name.startsWith('.'))
    let carriedOut = 0
    // Batch by batch: others are served between them, and what can't be read keeps no other out.
    for (let at = 0; at < entries.length && carriedOut < MAX_ENTRIES; at += BATCH) {
      const files = entries
        .slice(at, at + BATCH)
        .map(name => this.#readOrLog(join(this.#folder, name)))
        .filter(file => file !== undefined)
      await this.#carryOut(files)
      carriedOut += files.length
    }
    if (carriedOut < entries.length) this.#log.info('spool replayed', { carriedOut, of: entries.length })
  }

  /**
   * Carries out the release of this attachment, if there is one. To be awaited before the attachment gets a lease: else a
   * replay after it would end the new lease in place of the old one.
   *
   * @throws {IpamProblem} when the store does not take it. @throws the errno of a file that can't be read.
   */
  async consume(attachment: AttachmentKey): Promise<void> {
    const file = this.#read(join(this.#folder, spoolFileName(attachment)))
    if (file !== undefined) await this.#carryOut([file])
  }

  #sweep(names: readonly string[]): void {
    for (const name of names) {
      const path = join(this.#folder, name)
      const stats = lstatSync(path, { throwIfNoEntry: false })
      if (stats?.isFile() !== true || this.#nowUnixMs() - stats.mtimeMs < HALF_WRITTEN_KEEP_MS) continue
      // Nobody was told that this release is kept: DEL failed or was killed, and the runtime calls it again.
      this.#log.warn('half-written spool entry removed', { path })
      rmSync(path, { force: true })
    }
  }

  async #carryOut(files: readonly SpooledFile[]): Promise<void> {
    if (files.length === 0) return
    // Asked for all at once, so that they share a commit.
    const releases = await Promise.all(files.map(({ entry }) => this.#service.release(entry, 'spool')))
    for (const [index, { path, inode, entry }] of files.entries()) {
      const outcome = releases[index]?.kind
      this.#log.info('spooled release', { attachment: attachmentKeyText(entry.attachment), outcome })
      // Another DEL may have put a new entry in its place meanwhile: that one is still to be done.
      if (lstatSync(path, { bigint: true, throwIfNoEntry: false })?.ino === inode) unlinkSync(path)
    }
    // The next lease of an attachment must not find its entry again after a power loss.
    syncFolder(this.#folder)
  }

  #readOrLog(path: string): SpooledFile | undefined {
    try {
      return this.#read(path)
    } catch (cause) {
      this.#log.error('spool entry not read', { path, error: cause })
      return undefined
    }
  }

  /** The entry at `path`; undefined when there is none, or when it was set aside. */
  #read(path: string): SpooledFile | undefined {
    const content = readBounded(path)
    if (content === undefined) return undefined
    try {
      if (content.refusal !== undefined) throw new ParseError(content.refusal)
      return { path, inode: content.inode, entry: decodeSpoolEntry(content.text) }
    } catch (cause) {
      if (!(cause instanceof ParseError)) throw cause
      renameSync(path, `${path}.bad`)
      this.#log.error('spool entry set aside', { path: `${path}.bad`, error: cause })
      return undefined
    }
  }
}

interface Content {
  readonly inode: bigint
  readonly text: string
  /** Why the file can't be an entry. */
  readonly refusal?: string
}

function readBounded(path: string): Content | undefined {
  // Not blocking and not following: a FIFO or a link in the folder must not hold the daemon up or lead it elsewhere.
  const fd = openOrUndefined(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  if (fd === undefined) return undefined
  if (fd === 'link') return { inode: 0n, text: '', refusal: 'a symbolic link, want a file' }
  try {
    const stats = fstatSync(fd, { bigint: true })
    const refusal = refusalOf(stats)
    if (refusal !== undefined) return { inode: stats.ino, text: '', refusal }
    const buffer = Buffer.alloc(Number(stats.size))
    const length = readSync(fd, buffer, 0, buffer.length, 0)
    return { inode: stats.ino, text: buffer.toString('utf8', 0, length) }
  } finally {
    closeSync(fd)
  }
}

function refusalOf(stats: BigIntStats): string | undefined {
  if (!stats.isFile()) return 'not a regular file'
  if (stats.size > MAX_SPOOL_ENTRY_BYTES) return `${stats.size} bytes, want at most ${MAX_SPOOL_ENTRY_BYTES}`
  return undefined
}

function openOrUndefined(path: string, flags: number): number | 'link' | undefined {
  try {
    return openSync(path, flags)
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (code === 'ELOOP') return 'link'
    throw cause
  }
}

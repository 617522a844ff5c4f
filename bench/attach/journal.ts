import { createHash } from 'node:crypto'
import { appendFileSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { loadavg } from 'node:os'
import { dirname, join } from 'node:path'
import { BIN_FOLDER } from '../../e2e/netns/harness/tulle.ts'
import type { Sample } from '../report/samples.ts'

/** A run is not continued after this: the machine is another by then. */
const STALE_MS = 6 * 3600 * 1000

interface Entry {
  readonly turn: string
  readonly samples: readonly Sample[]
}

interface Beginning {
  readonly of: string
  readonly startedAt: string
  readonly load: number
}

/** What a run has found so far, in a file: a run that was stopped goes on where it was. */
export class Journal {
  readonly startedAt: string
  readonly loads: readonly number[]
  readonly #file: string
  readonly #entries: Entry[]

  private constructor(file: string, beginnings: readonly Beginning[], entries: Entry[]) {
    this.#file = file
    this.#entries = entries
    this.startedAt = beginnings[0]?.startedAt ?? ''
    this.loads = beginnings.map(({ load }) => load)
  }

  /**
   * Goes on with the run in `file`, when that is `of` the same and not too old; begins another otherwise.
   *
   * @param of what is measured, and how: see fingerprint().
   */
  static open(file: string, of: string, isFresh: boolean): Journal {
    const [load = 0] = loadavg()
    const now: Beginning = { of, startedAt: new Date().toISOString(), load }
    const lines = isFresh ? [] : linesOf(file)
    const before = lines.filter(line => 'of' in line)
    const [first] = before
    const isSame = first?.of === of && Date.now() - Date.parse(first.startedAt) < STALE_MS
    const beginnings = isSame ? [...before, now] : [now]
    const entries = isSame ? lines.filter(line => 'turn' in line) : []
    mkdirSync(dirname(file), { recursive: true })
    // Anew: its last line may have been cut off.
    writeFileSync(file, [...beginnings, ...entries].map(line => `${JSON.stringify(line)}\n`).join(''))
    return new Journal(file, beginnings, entries)
  }

  get samples(): readonly Sample[] {
    return this.#entries.flatMap(({ samples }) => samples)
  }

  get turns(): number {
    return this.#entries.length
  }

  has(turn: string): boolean {
    return this.#entries.some(entry => entry.turn === turn)
  }

  add(turn: string, samples: readonly Sample[]): void {
    this.#entries.push({ turn, samples })
    appendFileSync(this.#file, `${JSON.stringify({ turn, samples })}\n`)
  }

  /** The run is over: the next one begins anew. */
  close(): void {
    rmSync(this.#file)
  }
}

/** The whole lines; the last may have been cut off. */
function linesOf(file: string): readonly (Beginning | Entry)[] {
  try {
    const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1)
    return lines.map(line => JSON.parse(line) as Beginning | Entry)
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return []
    throw cause
  }
}

/** Tells runs apart that measure other executables, or in other sizes. */
export function fingerprint(sizes: object): string {
  const files = ['tulle', 'tulle-node'].map(name => {
    const { size, mtimeMs } = statSync(join(BIN_FOLDER, name))
    return [name, size, mtimeMs]
  })
  return createHash('sha256')
    .update(JSON.stringify([sizes, files]))
    .digest('hex')
}

import { Fields } from '../ipam/fields.ts'
import { ParseError } from '../net/parse-error.ts'
import { Deadline } from '../time/deadline.ts'
import { pause } from '../time/pause.ts'
import { backoffMs } from './backoff.ts'
import type { KubeClient } from './kube-client.ts'
import { KubeError } from './kube-error.ts'

/** Objects of one page of a list. A Node object has some ten kilobytes, and a page is in memory several times at once. */
const PAGE_SIZE = 50
const LIST_TIMEOUT_MS = 120_000
/** The server ends a watch after so long; spread, so that the nodes of a cluster do not come back together. */
const WATCH_SECONDS = { from: 300, to: 600 } as const
/** A server sends a bookmark about once a minute; a connection on which nothing came for so long is dead. */
const IDLE_MS = 150_000
/** A watch that ends sooner has failed, whatever its end looks like: it must not be opened again at once. */
const SHORT_WATCH_MS = 2_000
/** Everything is listed anew now and then, whatever the watches brought. */
const RESYNC_MS = { from: 1_800_000, to: 3_600_000 } as const

/** What a mirror holds: the objects by name. */
export type Snapshot<T> = ReadonlyMap<string, T>

export interface MirrorOptions<T> {
  readonly client: KubeClient
  /** Path of the collection: `/api/v1/nodes`. */
  readonly path: string
  /** Keeps of an object what is needed. @throws {ParseError} for an object without a name, which is left out. */
  readonly parse: (object: unknown) => T
  /** Whether nothing changed that matters. */
  readonly isSame: (a: T, b: T) => boolean
  /** Called after each change, with everything. It must not take long. */
  readonly onChange: (snapshot: Snapshot<T>) => void
  /** Told of each failure, and of each success after one. */
  readonly onContact?: (contact: Contact) => void
  readonly random?: () => number
}

/** Whether the server answers. */
export type Contact =
  | { readonly kind: 'listed'; readonly count: number }
  | { readonly kind: 'watching' }
  | { readonly kind: 'skipped'; readonly error: unknown }
  | { readonly kind: 'failed'; readonly error: unknown; readonly failures: number; readonly nextInMs: number }

/**
 * A copy of all objects of one kind, kept by list and watch (Kubernetes API concepts, "Efficient detection of changes").
 *
 * It lists in pages, watches from there with bookmarks, and lists again when the server says that it no longer knows what
 * changed (410). While the server is away the copy stays as it is, and the server is asked again at least every half minute, for
 * as long as it takes.
 */
export class Mirror<T> {
  readonly #options: MirrorOptions<T>
  readonly #random: () => number
  #objects = new Map<string, T>()
  #isComplete = false
  #resourceVersion: string | undefined
  #failures = 0
  #resyncAtMs = 0

  constructor(options: MirrorOptions<T>) {
    this.#options = options
    this.#random = options.random ?? Math.random
  }

  /** Undefined until everything was listed once. */
  get snapshot(): Snapshot<T> | undefined {
    return this.#isComplete ? this.#objects : undefined
  }

  /** Keeps the copy until `signal` says stop. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#listAndWatch(signal)
      } catch (error) {
        if (signal.aborted) return
        await this.#fail(error, signal)
      }
    }
  }

  async #listAndWatch(signal: AbortSignal): Promise<void> {
    if (this.#resourceVersion === undefined || performance.now() >= this.#resyncAtMs) await this.#list()
    const openedAtMs = performance.now()
    await this.#watch(signal)
    if (performance.now() - openedAtMs < SHORT_WATCH_MS) throw new KubeError('the server ended a watch at once')
    this.#failures = 0
  }

  async #fail(error: unknown, signal: AbortSignal): Promise<void> {
    // What cannot be read would come again: a list leaves it out.
    if (error instanceof ParseError || (error instanceof KubeError && error.isExpired))
      this.#resourceVersion = undefined
    this.#failures += 1
    const nextInMs = backoffMs(this.#failures, this.#random())
    this.#options.onContact?.({ kind: 'failed', error, failures: this.#failures, nextInMs })
    await pause(nextInMs, signal)
  }

  async #list(): Promise<void> {
    const { client, path } = this.#options
    const by = Deadline.in(LIST_TIMEOUT_MS)
    const objects = new Map<string, T>()
    let token = ''
    let resourceVersion: string
    do {
      const query = { limit: String(PAGE_SIZE), ...(token === '' ? {} : { continue: token }) }
      const page = Fields.of(await client.ask({ method: 'GET', path, query }, by), 'list')
      const metadata = page.object('metadata')
      resourceVersion = metadata.string('resourceVersion')
      token = metadata.optionalString('continue') ?? ''
      for (const item of page.list('items', item => item)) this.#keep(objects, item)
    } while (token !== '')
    this.#objects = objects
    this.#resourceVersion = resourceVersion
    this.#isComplete = true
    this.#resyncAtMs = performance.now() + this.#between(RESYNC_MS)
    this.#options.onContact?.({ kind: 'listed', count: objects.size })
    this.#options.onChange(objects)
  }

  #keep(objects: Map<string, T>, item: unknown): void {
    try {
      objects.set(nameOf(item), this.#options.parse(item))
    } catch (error) {
      if (!(error instanceof ParseError)) throw error
      this.#options.onContact?.({ kind: 'skipped', error })
    }
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const query = {
      watch: '1',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#resourceVersion ?? '',
      timeoutSeconds: String(Math.round(this.#between(WATCH_SECONDS))),
    }
    const { client, path, onContact } = this.#options
    await client.stream(
      { method: 'GET', path, query },
      {
        idleMs: IDLE_MS,
        signal,
        onOpen: () => onContact?.({ kind: 'watching' }),
        onLine: line => {
          this.#take(line)
          // Not when it opens: a server that takes watches and drops them at once must not be asked ever faster.
          this.#failures = 0
        },
      },
    )
  }

  /** One event of a watch. @throws {KubeError} for an ERROR event. @throws {ParseError} for what is no event. */
  #take(line: string): void {
    const { type, object } = parseEvent(line)
    if (type === 'ERROR') throw errorOf(object)
    const resourceVersion = Fields.of(object, 'object').object('metadata').string('resourceVersion')
    if (type !== 'BOOKMARK' && this.#change(type, object)) this.#options.onChange(this.#objects)
    // Last: what was not taken comes again.
    this.#resourceVersion = resourceVersion
  }

  /** True when something changed that matters. */
  #change(type: string, object: unknown): boolean {
    const name = nameOf(object)
    if (type === 'DELETED') return this.#objects.delete(name)
    const before = this.#objects.get(name)
    this.#keep(this.#objects, object)
    const after = this.#objects.get(name)
    return before === undefined || after === undefined || !this.#options.isSame(before, after)
  }

  #between({ from, to }: { readonly from: number; readonly to: number }): number {
    return from + (to - from) * this.#random()
  }
}

function nameOf(object: unknown): string {
  return Fields.of(object, 'object').object('metadata').string('name')
}

const EVENT_TYPES: ReadonlySet<string> = new Set(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK', 'ERROR'])

function parseEvent(line: string): { readonly type: string; readonly object: unknown } {
  try {
    const event = Fields.of(JSON.parse(line), 'event')
    const type = event.string('type')
    if (!EVENT_TYPES.has(type)) throw new ParseError(`event.type: ${type}: want one of ${[...EVENT_TYPES].join(', ')}`)
    return { type, object: event.value['object'] }
  } catch (cause) {
    throw new ParseError(`a watch event that cannot be read: ${(cause as Error).message}`, { cause })
  }
}

/** The Status object of an ERROR event. */
function errorOf(object: unknown): KubeError {
  const status = Fields.of(object, 'status')
  const reason = status.optionalString('reason') ?? ''
  const message = status.optionalString('message') ?? ''
  return new KubeError(`watch: ${reason}: ${message}`, { status: status.optionalCount('code') ?? 0, reason })
}

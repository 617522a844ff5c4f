import type { ServerResponse } from 'node:http'
import { IpamProblem } from '../../lib/ipam/errors.ts'
import { eventToWire, type EventRecord } from '../../lib/ipam/inspection.ts'
import type { Log } from '../../lib/log/json-log.ts'
import { eventRange, eventsAfter } from '../store/history.ts'
import type { StoreReader } from '../store/store-reader.ts'
import type { Metrics } from './metrics.ts'

/** Bounds of the event streams. */
export interface StreamBounds {
  readonly maxStreams: number
  /** Between two comments that show that the daemon lives when nothing happens. */
  readonly heartbeatMs: number
  /** How long a reader may take to make room for more. */
  readonly stallMs: number
}

const DEFAULT_BOUNDS: StreamBounds = { maxStreams: 32, heartbeatMs: 10_000, stallMs: 5_000 }

/** Events that are read and written at once. It bounds the memory of a stream: the rest waits in the store. */
const BATCH = 256

/** What a reader does that lost its connection, in milliseconds: the `retry` of the format. */
const RETRY_MS = 1000

/**
 * The change stream: server-sent events (HTML Living Standard, section 9.2), read from the store. A reader that is behind, or that comes
 * back with the id that it has seen last, misses nothing that the store still has; what it does miss is said by an event
 * named `lost`.
 */
export class EventStreams {
  readonly #reader: StoreReader
  readonly #metrics: Metrics
  readonly #log: Log
  readonly #bounds: StreamBounds
  readonly #streams = new Set<EventStream>()
  #isAnnounced = false
  #isClosed = false

  constructor(
    reader: StoreReader,
    {
      metrics,
      log,
      bounds = DEFAULT_BOUNDS,
    }: { readonly metrics: Metrics; readonly log: Log; readonly bounds?: StreamBounds },
  ) {
    this.#reader = reader
    this.#metrics = metrics
    this.#log = log
    this.#bounds = bounds
  }

  get count(): number {
    return this.#streams.size
  }

  /**
   * Makes room for one more stream, which begins behind the event `after`, or at the newest event.
   *
   * @returns what writes the stream to the response, until one of both ends is closed.
   * @throws {IpamProblem} busy, when there are too many. @throws {StoreError}
   */
  open(after: number | undefined): (response: ServerResponse) => void {
    if (this.#isClosed || this.#streams.size >= this.#bounds.maxStreams) {
      throw new IpamProblem(
        'busy',
        `${this.#streams.size} event streams are open: want at most ${this.#bounds.maxStreams}`,
      )
    }
    const range = eventRange(this.#reader)
    const from = after ?? range.newest
    return response => {
      // Ids ahead of ours are of a store that is gone: what this store has is all new to that reader.
      const isForeign = from > range.newest
      const stream = new EventStream(response, { after: isForeign ? range.oldest - 1 : from, bounds: this.#bounds })
      this.#streams.add(stream)
      response.once('close', () => {
        stream.end()
        this.#streams.delete(stream)
      })
      if (isForeign) stream.write(lostFrame({ after: from, next: range.oldest }))
      this.#pump(stream)
    }
  }

  /** To be called after each commit. It writes nothing itself: those who wait for the commit are answered first. */
  announce(): void {
    if (this.#isAnnounced || this.#streams.size === 0) return
    this.#isAnnounced = true
    setImmediate(() => {
      this.#isAnnounced = false
      for (const stream of this.#streams) this.#pump(stream)
    })
  }

  /** Ends every stream: a stream that has no end would keep the daemon from stopping. */
  close(): void {
    this.#isClosed = true
    for (const stream of this.#streams) stream.end()
  }

  #pump(stream: EventStream): void {
    stream
      .pump(after => eventsAfter(this.#reader, { after, limit: BATCH }))
      .catch((cause: unknown) => {
        this.#metrics.countDroppedStream()
        this.#log.warn('event stream dropped', { error: cause })
        stream.drop()
      })
  }
}

/** One reader. */
class EventStream {
  readonly #response: ServerResponse
  readonly #stallMs: number
  readonly #heartbeat: NodeJS.Timeout
  #after: number
  #isPumping = false
  #hasMore = false

  constructor(response: ServerResponse, { after, bounds }: { readonly after: number; readonly bounds: StreamBounds }) {
    this.#response = response
    this.#after = after
    this.#stallMs = bounds.stallMs
    // The time limits of the server are for answers that end.
    response.socket?.setTimeout(0)
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', connection: 'close' })
    response.write(`retry: ${RETRY_MS}\n\n`)
    this.#heartbeat = setInterval(() => this.#beat(), bounds.heartbeatMs)
    this.#heartbeat.unref()
  }

  write(text: string): void {
    this.#response.write(text)
  }

  end(): void {
    clearInterval(this.#heartbeat)
    this.#response.end()
  }

  /** Ends the stream without regard for what is still to be written. */
  drop(): void {
    clearInterval(this.#heartbeat)
    this.#response.destroy()
  }

  /** Writes what there is, as fast as the reader takes it. @throws {Error} when it takes nothing for too long. */
  async pump(read: (after: number) => readonly EventRecord[]): Promise<void> {
    this.#hasMore = true
    if (this.#isPumping) return
    this.#isPumping = true
    try {
      while (this.#hasMore && this.#isOpen()) {
        this.#hasMore = false
        const events = read(this.#after)
        if (events.length === BATCH) this.#hasMore = true
        const text = this.#framesOf(events)
        if (text !== '' && !this.#response.write(text)) await this.#untilDrained()
      }
    } finally {
      this.#isPumping = false
    }
  }

  #isOpen(): boolean {
    return !this.#response.writableEnded && !this.#response.destroyed
  }

  #framesOf(events: readonly EventRecord[]): string {
    const [first] = events
    const last = events.at(-1)
    if (first === undefined || last === undefined) return ''
    // Ids have no gaps, so a gap is what retention has removed.
    const lost = first.id === this.#after + 1 ? '' : lostFrame({ after: this.#after, next: first.id })
    this.#after = last.id
    return lost + events.map(eventFrame).join('')
  }

  #beat(): void {
    // A reader that has not taken the last text yet gets no more of it: what waits stays bounded.
    if (this.#isOpen() && !this.#response.writableNeedDrain) this.#response.write(': alive\n\n')
  }

  #untilDrained(): Promise<void> {
    const response = this.#response
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => settle(new Error(`the reader took nothing for ${this.#stallMs} ms`)),
        this.#stallMs,
      )
      response.once('drain', onEvent)
      response.once('close', onEvent)
      function onEvent(): void {
        settle()
      }
      function settle(failure?: Error): void {
        clearTimeout(timer)
        response.off('drain', onEvent)
        response.off('close', onEvent)
        if (failure === undefined) resolve()
        else reject(failure)
      }
    })
  }
}

function eventFrame(event: EventRecord): string {
  return `id: ${event.id}\nevent: ${event.kind}\ndata: ${JSON.stringify(eventToWire(event))}\n\n`
}

function lostFrame(range: { readonly after: number; readonly next: number }): string {
  return `event: lost\ndata: ${JSON.stringify(range)}\n\n`
}

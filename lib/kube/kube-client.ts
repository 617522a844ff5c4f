import * as http from 'node:http'
import * as https from 'node:https'
import { Fields } from '../ipam/fields.ts'
import type { Deadline } from '../time/deadline.ts'
import { KubeError } from './kube-error.ts'
import { LineSplitter } from './line-splitter.ts'
import type { ServerAccess } from './server-access.ts'

/** A page of a list is the largest answer: 50 objects, each of which etcd takes up to 1.5 MiB. */
const MAX_REPLY_BYTES = 80 * 1024 * 1024
/** No object is larger than what etcd takes (1.5 MiB); a watch event holds one. */
const MAX_LINE_BYTES = 4 * 1024 * 1024
/** Of an error's body, as much as a message needs. */
const MAX_ERROR_BYTES = 64 * 1024
/** For the head of an answer. A server under load takes its time for a list. */
const ANSWER_TIMEOUT_MS = 30_000
const KEEP_ALIVE_MS = 15_000

export interface KubeRequest {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE'
  readonly path: string
  readonly query?: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body?: object
  /** application/json when absent. */
  readonly contentType?: string
}

/** How a stream is read. */
export interface StreamOptions {
  /** After so long without a byte the connection is taken for dead. */
  readonly idleMs: number
  readonly signal: AbortSignal
  /** Called when the server has agreed. */
  readonly onOpen: () => void
  readonly onLine: (line: string) => void
}

/** Requests to a Kubernetes API server. Connections are kept and used again; each request has a deadline and a bound. */
export class KubeClient implements Disposable {
  readonly #access: ServerAccess
  readonly #agent: http.Agent
  readonly #send: typeof http.request

  constructor(access: ServerAccess) {
    this.#access = access
    const pool = { keepAlive: true, keepAliveMsecs: KEEP_ALIVE_MS, maxSockets: 8, scheduling: 'lifo' } as const
    if (access.url.protocol === 'https:') {
      this.#agent = new https.Agent({
        ...pool,
        ...(access.ca === undefined ? {} : { ca: access.ca }),
        ...access.client,
      })
      this.#send = https.request
    } else {
      this.#agent = new http.Agent(pool)
      this.#send = http.request
    }
  }

  /**
   * Asks once and returns the object that came back.
   *
   * @throws {KubeError} when the server refuses, cannot be reached, answers no JSON or too much of it, or the deadline passes.
   */
  async ask(request: KubeRequest, by: Deadline): Promise<unknown> {
    const timeout = AbortSignal.timeout(Math.max(1, by.remainingMs()))
    const doing = describe(request)
    const response = await this.#open(request, timeout)
    const text = await readAll(response, { doing, maxBytes: MAX_REPLY_BYTES })
    return parseJson(text, doing)
  }

  /**
   * Reads an answer that does not end by itself, line by line. Resolves when the server ends it.
   *
   * @throws {KubeError} when the server refuses, the connection breaks or is idle for too long, or a line is too long; what
   *   `onLine` throws, as it is.
   */
  async stream(request: KubeRequest, { idleMs, signal, onOpen, onLine }: StreamOptions): Promise<void> {
    const doing = describe(request)
    const response = await this.#open(request, signal)
    onOpen()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const splitter = new LineSplitter(MAX_LINE_BYTES)
    const idle = setTimeout(() => fail(new KubeError(`${doing}: nothing came for ${idleMs} ms`)), idleMs)
    function fail(error: unknown): void {
      reject(error)
      response.destroy()
    }
    response.on('data', (chunk: Buffer) => {
      idle.refresh()
      try {
        splitter.push(chunk).forEach(onLine)
      } catch (cause) {
        fail(cause instanceof RangeError ? new KubeError(`${doing}: ${cause.message}`, { cause }) : cause)
      }
    })
    response.on('end', () => {
      // The rest of a line that nobody ends is half an object: it is not used, and the next watch brings it again.
      if (splitter.hasRest) fail(new KubeError(`${doing}: the connection ended within an object`))
      else resolve()
    })
    response.on('error', cause => fail(new KubeError(`${doing}: ${cause.message}`, { cause })))
    response.on('close', () => fail(new KubeError(`${doing}: the connection was closed`)))
    try {
      await promise
    } finally {
      clearTimeout(idle)
    }
  }

  [Symbol.dispose](): void {
    this.#agent.destroy()
  }

  /** Sends, and waits for the head of the answer. @throws {KubeError} also when it is a refusal. */
  async #open(request: KubeRequest, signal: AbortSignal): Promise<http.IncomingMessage> {
    const doing = describe(request)
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>()
    const body = request.body === undefined ? undefined : JSON.stringify(request.body)
    const sent = this.#send(this.#urlOf(request), {
      agent: this.#agent,
      method: request.method,
      headers: this.#headersOf(request, body),
      signal,
    })
    const timer = setTimeout(() => sent.destroy(new Error('no answer in time')), ANSWER_TIMEOUT_MS)
    sent.on('response', resolve)
    sent.on('error', cause => reject(new KubeError(`${doing}: ${reasonOf(cause)}`, { cause })))
    sent.end(body)
    let response
    try {
      response = await promise
    } finally {
      clearTimeout(timer)
    }
    const { statusCode = 0 } = response
    if (statusCode >= 200 && statusCode < 300) return response
    throw await refusalOf(response, { doing, status: statusCode })
  }

  #urlOf({ path, query = {} }: KubeRequest): URL {
    const url = new URL(this.#access.url)
    url.pathname = `${url.pathname.replace(/\/$/, '')}${path}`
    url.search = new URLSearchParams(query).toString()
    return url
  }

  #headersOf({ contentType }: KubeRequest, body: string | undefined): http.OutgoingHttpHeaders {
    const token = this.#access.token?.()
    return {
      accept: 'application/json',
      'user-agent': 'tulle-agent',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined
        ? {}
        : { 'content-type': contentType ?? 'application/json', 'content-length': Buffer.byteLength(body) }),
    }
  }
}

function describe({ method, path, query }: KubeRequest): string {
  return `${method} ${path}${query?.['watch'] === undefined ? '' : ' (watch)'}`
}

function reasonOf(cause: NodeJS.ErrnoException): string {
  return cause.name === 'AbortError' || cause.name === 'TimeoutError' ? 'given up' : (cause.code ?? cause.message)
}

async function readAll(
  response: http.IncomingMessage,
  { doing, maxBytes }: { readonly doing: string; readonly maxBytes: number },
): Promise<string> {
  const chunks: Buffer[] = []
  let length = 0
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      length += chunk.length
      if (length > maxBytes) throw new KubeError(`${doing}: an answer of more than ${maxBytes} bytes`)
      chunks.push(chunk)
    }
  } catch (cause) {
    if (cause instanceof KubeError) throw cause
    throw new KubeError(`${doing}: ${reasonOf(cause as Error)}`, { cause })
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The server's refusal, with the words of its Status object where it has one. */
async function refusalOf(
  response: http.IncomingMessage,
  { doing, status }: { readonly doing: string; readonly status: number },
): Promise<KubeError> {
  try {
    const document = Fields.of(JSON.parse(await readAll(response, { doing, maxBytes: MAX_ERROR_BYTES })), 'status')
    const message = document.optionalString('message') ?? ''
    const reason = document.optionalString('reason') ?? ''
    return new KubeError(`${doing}: ${status} ${reason}: ${message}`, { status, reason })
  } catch (cause) {
    return new KubeError(`${doing}: ${status}`, { status, cause })
  }
}

function parseJson(text: string, doing: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new KubeError(`${doing}: the answer is no JSON`, { cause })
  }
}

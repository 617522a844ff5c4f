import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isErrnoException } from '../lib/os/durable-file.ts'
import { Deadline } from '../lib/time/deadline.ts'
import { retryUntil } from '../lib/time/retry-until.ts'

/** What is answered to one GET. */
export interface Page {
  readonly status: number
  readonly mediaType: string
  readonly body: string
}

export interface HttpServerOptions {
  readonly address: string
  readonly port: number
  /** By path. A page that rejects is a 500. */
  readonly pages: ReadonlyMap<string, () => Page | Promise<Page>>
  /** How long another process may take to give the port up; 0 when absent. */
  readonly waitMs?: number | undefined
}

/** A server on a TCP port of the node, for probes and Prometheus. It reads no request bodies and keeps few connections. */
export interface HttpServer {
  /** The port, where any was asked for. */
  readonly port: number
  close(): Promise<void>
}

const MAX_CONNECTIONS = 64
const REQUEST_TIMEOUT_MS = 10_000
const PORT_PAUSE_MS = 50

/** @throws {Error} when the address or the port cannot be had, or not in time. */
export async function serveHttp({ address, port, pages, waitMs = 0 }: HttpServerOptions): Promise<HttpServer> {
  const server = createServer(
    { requestTimeout: REQUEST_TIMEOUT_MS, headersTimeout: REQUEST_TIMEOUT_MS, maxHeaderSize: 16 * 1024 },
    (request, response) => {
      const path = (request.url ?? '/').split('?')[0] ?? '/'
      const page = pages.get(path)
      if (request.method !== 'GET' && request.method !== 'HEAD') return send(response, refusal(405, 'want GET'))
      if (page === undefined) return send(response, refusal(404, `want one of ${[...pages.keys()].join(', ')}`))
      void answer(page).then(reply => send(response, reply))
    },
  )
  server.maxConnections = MAX_CONNECTIONS
  await retryUntil(() => listen(server, address, port), {
    by: Deadline.in(waitMs),
    everyMs: PORT_PAUSE_MS,
    isPassing: failure => isErrnoException(failure) && failure.code === 'EADDRINUSE',
  })
  // A connection that can't be accepted is its caller's loss.
  server.on('error', () => {})
  return {
    port: (server.address() as AddressInfo).port, // a TCP server that listens has one
    close: () => closeServer(server),
  }
}

async function answer(page: () => Page | Promise<Page>): Promise<Page> {
  try {
    return await page()
  } catch (failure) {
    return refusal(500, (failure as Error).message)
  }
}

function refusal(status: number, body: string): Page {
  return { status, mediaType: 'text/plain; charset=utf-8', body: `${body}\n` }
}

function send(response: ServerResponse, { status, mediaType, body }: Page): void {
  response.writeHead(status, { 'content-type': mediaType, 'content-length': Buffer.byteLength(body) })
  response.end(body)
}

function listen(server: Server, address: string, port: number): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  server.once('error', reject)
  server.listen({ host: address, port }, () => {
    server.removeListener('error', reject)
    resolve()
  })
  return promise
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  server.closeAllConnections()
  await closed
}

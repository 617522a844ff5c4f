import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { IpamProblem, PROBLEM_MEDIA_TYPE } from '../../lib/ipam/errors.ts'
import { readTraceContext } from '../../lib/ipam/trace-context.ts'
import { PATHS } from '../../lib/ipam/protocol.ts'
import { quoteText } from '../../lib/net/quote-text.ts'
import type { Log } from '../../lib/log/json-log.ts'
import { refuseStrangers, type PeerCheck } from './peer.ts'
import { readBody, readJson } from './read-json.ts'
import type { Subjects } from './handler.ts'
import type { Reply } from './reply.ts'
import { problemFor } from '../problems.ts'
import { findHandler, ROUTES } from './routes.ts'

const MAX_CONNECTIONS = 1024
/** What the launcher sends at most, and a little more. */
const MAX_HEADER_BYTES = 20 * 1024
/** For the headers, and for a connection on which nothing moves while it is the caller's turn to send or to read. */
const IDLE_TIMEOUT_MS = 5_000
/** For a whole request. */
const REQUEST_TIMEOUT_MS = 10_000

/** What the server needs beside what it serves. */
export interface ApiOptions {
  readonly peers: PeerCheck
  readonly log: Log
  readonly idleTimeoutMs?: number
}

/** Makes the HTTP server; the caller makes it listen. */
export function createApi(subjects: Subjects, { peers, log, idleTimeoutMs = IDLE_TIMEOUT_MS }: ApiOptions): Server {
  /** The request of each connection: there is one. */
  const received = new WeakMap<Socket, IncomingMessage>()
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: idleTimeoutMs,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: 1000,
      // A Unix socket has no host: a caller that writes its requests by hand need not make one up.
      requireHostHeader: false,
    },
    (request, response) => {
      received.set(request.socket, request)
      void answer(request, response)
    },
  )
  server.maxConnections = MAX_CONNECTIONS
  server.timeout = idleTimeoutMs
  // Each answer closes its connection: what a caller sends behind its first request must not be carried out unanswered.
  server.maxRequestsPerSocket = 1
  // A client may close its half of the connection behind its request: Node would take that for the end of it, and not answer.
  Object.assign(server, { httpAllowHalfOpen: true })
  // Node would answer 417 with no document, to anybody.
  server.on('checkExpectation', (request: IncomingMessage, response: ServerResponse) => {
    received.set(request.socket, request)
    void answer(request, response)
  })
  server.on('clientError', (cause: NodeJS.ErrnoException, socket: Socket) => {
    // What follows a whole request is not carried out, and must not take the place of its answer: it may say 200.
    if (received.get(socket)?.complete !== true) refuseMalformed(cause, socket)
  })
  return server

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const status = await answerAndSend(request, response)
    logTraced(log, request, status)
    const { method = '', url = '' } = request
    const [path = ''] = url.split('?')
    const methods = ROUTES.get(path)
    const isKnown = methods !== undefined && Object.hasOwn(methods, method)
    subjects.metrics.countRequest({
      method: isKnown ? method : 'other',
      route: methods === undefined ? 'unknown' : path,
      status,
    })
  }

  async function answerAndSend(request: IncomingMessage, response: ServerResponse): Promise<number> {
    try {
      refuseStrangers(request.socket, peers)
      const reply = await handle(request)
      request.socket.setTimeout(idleTimeoutMs)
      if (reply.kind === 'stream') reply.writeTo(response)
      else send(response, 200, reply)
      return 200
    } catch (failure) {
      const problem = problemFor(failure)
      request.socket.setTimeout(idleTimeoutMs)
      if (problem.status === 500) logFailure(log, request, problem)
      if (isAllocation(request)) subjects.metrics.countRefusal(problem.type)
      if (problem.type === 'method-not-allowed') response.setHeader('allow', String(problem.members['allow']))
      if (problem.type === 'declined') response.setHeader('tulle-decline', String(problem.members['reason']))
      send(response, problem.status, { type: PROBLEM_MEDIA_TYPE, text: `${JSON.stringify(problem.toWire())}\n` })
      return problem.status
    }
  }

  async function handle(request: IncomingMessage): Promise<Reply> {
    refuseExpectation(request)
    const { pathname, searchParams } = parseUrl(request.url ?? '')
    const method = request.method ?? ''
    const handler = findHandler(method, pathname)
    const input = { query: searchParams, headers: request.headers, rawHeaders: request.rawHeaders }
    const body = await bodyOf(request, pathname)
    // From here to the answer nothing moves because we are at work, for as long as the request's own deadline: a connection that
    // is closed meanwhile has its caller do the same again.
    request.socket.setTimeout(0)
    return handler(subjects, { ...input, body })
  }
}

async function bodyOf(request: IncomingMessage, pathname: string): Promise<unknown> {
  // The input of a plugin is for the engine to read: what is no JSON gets its error from there.
  if (pathname === PATHS.cni) return await readBody(request)
  const hasBody = request.method === 'POST' || request.method === 'PUT'
  return hasBody ? await readJson(request) : undefined
}

/** What a caller expects beside an answer, it may not get. @throws {IpamProblem} bad-request. */
function refuseExpectation({ headers: { expect } }: IncomingMessage): void {
  if (expect === undefined || expect.toLowerCase() === '100-continue') return
  throw new IpamProblem('bad-request', `expect ${quoteText(expect)}: want 100-continue, or no such header`)
}

function parseUrl(text: string): URL {
  const url = text.startsWith('/') ? URL.parse(`http://ipamd${text}`) : null
  if (url === null) throw new IpamProblem('bad-request', `${quoteText(text)}: want a path`)
  return url
}

function send(
  response: ServerResponse,
  status: number,
  { type, text, headers = {} }: Omit<Extract<Reply, { kind: 'text' }>, 'kind'>,
): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(text),
    // Callers live for one request.
    connection: 'close',
    ...headers,
  })
  response.end(text)
}

function isAllocation({ method, url }: IncomingMessage): boolean {
  return method === 'POST' && url === PATHS.leases
}

/** A request that belongs to a trace is in the log, so that who follows the trace finds it (checklist E11). */
function logTraced(log: Log, { headers, method, url }: IncomingMessage, status: number): void {
  const { traceparent, tracestate } = readTraceContext(name => headers[name])
  // Not the baggage: it may have what is nobody's business here.
  if (traceparent !== undefined) log.info('request', { method, url, status, traceparent, tracestate })
}

function logFailure(log: Log, request: IncomingMessage, problem: IpamProblem): void {
  const cause = problem.cause instanceof Error ? problem.cause : problem
  const stack = problem.type === 'internal' ? cause.stack : undefined
  log.error('request failed', { method: request.method, url: request.url, problem: problem.type, error: cause, stack })
}

function refuseMalformed(cause: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || cause.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const body = `${JSON.stringify(new IpamProblem('bad-request', `not an HTTP request: ${cause.message}`).toWire())}\n`
  const head = [
    'HTTP/1.1 400 Bad Request',
    `content-type: ${PROBLEM_MEDIA_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  socket.end(`${head.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}

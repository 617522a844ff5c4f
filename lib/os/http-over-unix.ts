import { connect, type Socket } from 'node:net'
import { IpamUnavailable } from '../ipam/errors.ts'
import type { Deadline } from '../time/deadline.ts'

/** The largest reply that is read: a list of some ten thousand leases. */
const MAX_REPLY_BYTES = 16 * 1024 * 1024

/** One HTTP request over a Unix socket. */
export interface HttpRequest {
  readonly method: 'GET' | 'POST' | 'PUT'
  readonly path: string
  /** Sent as JSON. */
  readonly body?: object
  /** Further headers. Values have no line breaks in them: whoever gives them has seen to it. */
  readonly headers?: Readonly<Record<string, string>>
}

/** The answer: its status and its body, not yet parsed. */
export interface HttpReply {
  readonly status: number
  readonly body: string
}

/**
 * Sends one request over a connection of its own and reads the whole reply.
 *
 * Written by hand because node:http costs an executable that runs for each pod eight milliseconds of start-up.
 *
 * @throws {IpamUnavailable} when nobody listens, the connection breaks, the reply is no HTTP, or the deadline passes.
 */
export function exchange(socketPath: string, request: HttpRequest, by: Deadline): Promise<HttpReply> {
  const { promise, resolve, reject } = Promise.withResolvers<HttpReply>()
  const socket = connect({ path: socketPath })
  let isConnected = false
  const fail = (reason: string, cause?: unknown): void => {
    reject(new IpamUnavailable(socketPath, reason, { cause, wasNeverAsked: !isConnected }))
    socket.destroy()
  }
  const chunks: Buffer[] = []
  let length = 0
  const timer = setTimeout(() => fail('no answer in time'), by.remainingMs())
  socket.on('connect', () => (isConnected = true))
  socket.on('error', (cause: NodeJS.ErrnoException) => fail(reasonOf(cause, isConnected), cause))
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    length += chunk.length
    if (length > MAX_REPLY_BYTES) fail(`a reply of more than ${MAX_REPLY_BYTES} bytes`)
  })
  // The request asks for the connection to be closed: its end is the reply's end, and Content-Length proves it whole.
  socket.on('close', () => {
    clearTimeout(timer)
    const reply = parseReply(Buffer.concat(chunks))
    if (reply === undefined)
      fail(length === 0 ? 'the connection was closed without an answer' : 'the answer is not whole')
    else resolve(reply)
  })
  send(socket, request)
  return promise
}

function reasonOf({ code, message }: NodeJS.ErrnoException, isConnected: boolean): string {
  return isConnected ? (code ?? message) : `nobody listens (${code ?? message}): want a running ipamd with this socket`
}

function send(socket: Socket, { method, path, body, headers = {} }: HttpRequest): void {
  const content = body === undefined ? '' : JSON.stringify(body)
  const head = [
    `${method} ${path} HTTP/1.1`,
    'Host: ipamd',
    'Connection: close',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    ...(body === undefined ? [] : ['Content-Type: application/json', `Content-Length: ${Buffer.byteLength(content)}`]),
  ]
  // Not end(): Node's HTTP server takes a caller that has closed its half for gone, and drops a reply that is not ready yet.
  socket.write(`${head.join('\r\n')}\r\n\r\n${content}`)
}

function parseReply(bytes: Buffer): HttpReply | undefined {
  const end = bytes.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const [statusLine, ...headers] = bytes.subarray(0, end).toString('latin1').split('\r\n')
  const status = /^HTTP\/1\.1 (\d{3}) /.exec(`${statusLine ?? ''} `)?.[1]
  const length = headers.map(line => /^content-length: *(\d+) *$/i.exec(line)?.[1]).find(value => value !== undefined)
  const body = bytes.subarray(end + 4)
  if (status === undefined || length === undefined || body.length !== Number(length)) return undefined
  return { status: Number(status), body: body.toString() }
}

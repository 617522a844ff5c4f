import { request } from 'node:http'

/** An answer of the daemon. */
export interface Answer {
  readonly status: number
  readonly type: string
  readonly body: Readonly<Record<string, unknown>>
}

const TIMEOUT_MS = 10_000

/** Sends one request to a Unix socket, for tests. A body that is not text is sent as JSON. */
export function send(
  socketPath: string,
  {
    method = 'GET',
    path,
    body,
    type = 'application/json',
  }: { method?: string; path: string; body?: unknown; type?: string },
): Promise<Answer> {
  const text = typeof body === 'string' || body === undefined ? body : JSON.stringify(body)
  return new Promise((resolve, reject) => {
    const headers = text === undefined ? {} : { 'content-type': type, 'content-length': Buffer.byteLength(text) }
    const sent = request({ socketPath, method, path, headers, timeout: TIMEOUT_MS }, response => {
      let received = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (received += chunk))
      response.on('error', reject)
      response.on('end', () => {
        const answer = JSON.parse(received) as Record<string, unknown>
        resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', body: answer })
      })
    })
    sent.on('timeout', () => sent.destroy(new Error(`no answer to ${method} ${path} in ${TIMEOUT_MS} ms`)))
    sent.on('error', reject)
    sent.end(text)
  })
}

export function post(socketPath: string, path: string, body: unknown): Promise<Answer> {
  return send(socketPath, { method: 'POST', path, body })
}

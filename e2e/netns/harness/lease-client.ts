import { request } from 'node:http'
import { type JsonObject, asObject, asObjects, asString, isObject } from './json.ts'

/** What ipamd said. */
export interface LeaseAnswer {
  readonly status: number
  readonly body: JsonObject
}

export interface LeaseCall {
  readonly method?: 'GET' | 'POST' | 'PUT'
  readonly path: string
  readonly body?: JsonObject
  /** For the whole exchange; 5,000 when absent. */
  readonly timeoutMs?: number
}

/** No answer came, and nothing says whether the request was carried out. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
  /** True when the time ran out: a daemon that is gone lets nobody wait. */
  readonly timedOut: boolean

  constructor(message: string, timedOut: boolean) {
    super(message)
    this.timedOut = timedOut
  }
}

/** Sends one request to ipamd, on a connection of its own. @throws {NoAnswer} */
export function callIpamd(socketPath: string, call: LeaseCall): Promise<LeaseAnswer> {
  const { method = call.body === undefined ? 'GET' : 'POST', path, body, timeoutMs = 5_000 } = call
  const { promise, resolve, reject } = Promise.withResolvers<LeaseAnswer>()
  const text = body === undefined ? undefined : JSON.stringify(body)
  const headers =
    text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
  const sent = request({ socketPath, method, path, agent: false, headers }, response => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('error', fail)
    response.on('end', () => {
      try {
        const answer: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
        resolve({ status: response.statusCode ?? 0, body: asObject(answer, `${method} ${path}`) })
      } catch (cause) {
        reject(cause)
      }
    })
  })
  // Not the timeout of the socket, which begins anew with each byte.
  const timer = setTimeout(() => {
    reject(new NoAnswer(`${method} ${path}: no answer in ${timeoutMs} ms`, true))
    sent.destroy()
  }, timeoutMs)
  sent.on('error', fail)
  sent.end(text)
  return promise.finally(() => clearTimeout(timer))

  function fail(cause: Error): void {
    reject(new NoAnswer(`${method} ${path}: ${cause.message}`, false))
  }
}

/** The addresses in a lease document, as one text: two leases are the same when their texts are. */
export function addressesIn(lease: unknown): readonly string[] {
  return asObjects(asObject(lease, 'lease')['addresses'], 'lease.addresses').map(each =>
    asString(each['address'], 'lease.addresses[].address'),
  )
}

/** Every lease that ipamd has: addresses by container. */
export async function allLeases(socketPath: string): Promise<ReadonlyMap<string, readonly string[]>> {
  const leases = new Map<string, readonly string[]>()
  let after: string | undefined
  do {
    const query = after === undefined ? '' : `?after=${encodeURIComponent(after)}`
    const { status, body } = await callIpamd(socketPath, { path: `/v1/leases${query}` })
    if (status !== 200) throw new Error(`GET /v1/leases: ${status} ${JSON.stringify(body)}`)
    for (const lease of asObjects(body['leases'], 'leases')) {
      const { containerId } = asObject(lease['attachment'], 'lease.attachment')
      leases.set(asString(containerId, 'containerId'), addressesIn(lease))
    }
    // A daemon that answers in pages says where the next one begins.
    const { next } = body
    after = typeof next === 'string' || typeof next === 'number' ? String(next) : undefined
  } while (after !== undefined)
  return leases
}

/** What a problem document says, with its type: `pool-exhausted: …`. */
export function problemText(body: JsonObject): string {
  return isObject(body) ? `${String(body['type'])}: ${String(body['detail'])}` : JSON.stringify(body)
}

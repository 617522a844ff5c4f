import { once } from 'node:events'
import { createServer, get } from 'node:http'
import { text } from 'node:stream/consumers'
import type { Endpoint } from './traffic.ts'
import { inUrl, withoutPort } from './traffic.ts'

const REQUEST_MS = 20_000

/** Sends one HTTP request from this process, which is outside of the cluster. @throws {Error} unless the answer is 200. */
export async function httpFromOutside(
  { address, port }: Endpoint,
  path: string,
  timeoutMs = REQUEST_MS,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  // A connection of its own each time: the next one may go to another pod.
  const request = get({ host: address, port, path, agent: false, timeout: timeoutMs }, response => {
    text(response).then(body => {
      if (response.statusCode === 200) resolve(body)
      else reject(new Error(`${address}:${port}${path}: ${response.statusCode}: ${body}`))
    }, reject)
  })
  request.on('timeout', () => request.destroy(new Error(`${address}:${port}: no answer in ${timeoutMs} ms`)))
  request.on('error', reject)
  return await promise
}

/** The address under which the pod behind `endpoint` sees this process. */
export async function seenFromOutside(endpoint: Endpoint, timeoutMs?: number): Promise<string> {
  return withoutPort(await httpFromOutside(endpoint, '/clientip', timeoutMs))
}

/** A server on this host, outside of the cluster, that answers every request with the address and port from which it came. */
export interface OutsideServer {
  readonly port: number
  close(): void
}

/** Listens on all addresses of this host, at any free port. */
export async function serveClientAddress(): Promise<OutsideServer> {
  const server = createServer((request, response) => {
    const { remoteAddress = '', remotePort } = request.socket
    // An IPv4 client of a socket of both families.
    response.end(`${inUrl(remoteAddress.replace(/^::ffff:/, ''))}:${remotePort}`)
  })
  server.listen(0, '::')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port')
  return { port: address.port, close: () => void server.close() }
}

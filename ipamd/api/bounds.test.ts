import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import t from 'tap'
import { post, send } from '../test-request.ts'
import { startForTest } from './test-daemon.ts'

/** More than the server's own limits of time. */
const TIMEOUT_MS = 20_000

function attachment(containerId: string) {
  return { network: 'net', containerId, ifName: 'eth0' }
}

async function idle(socketPath: string): Promise<Socket> {
  const socket = connect(socketPath)
  // Being dropped is what is waited for.
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** How it was closed does not matter: who is dropped in the middle of a write reads a reset before the end. */
async function whenClosed(socket: Socket): Promise<void> {
  if (socket.closed) return
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const timer = setTimeout(() => reject(new Error(`not closed after ${TIMEOUT_MS} ms`)), TIMEOUT_MS)
  socket.once('close', () => resolve())
  await promise.finally(() => clearTimeout(timer))
}

t.test('1,000 connections that say nothing neither stop the service nor stay', async t => {
  await using daemon = await startForTest()
  const sockets = await Promise.all(Array.from({ length: 1000 }, () => idle(daemon.socket)))
  t.equal((await post(daemon.socket, '/v1/leases', { attachment: attachment('a') })).status, 200)
  for (const socket of sockets) socket.resume()
  await Promise.all(sockets.map(whenClosed))
  t.equal((await post(daemon.socket, '/v1/leases', { attachment: attachment('b') })).status, 200)
})

t.test('connections beyond the limit are dropped, and their end makes room again', async t => {
  await using daemon = await startForTest()
  const sockets = await Promise.all(Array.from({ length: 1024 }, () => idle(daemon.socket)))
  await t.rejects(
    post(daemon.socket, '/v1/leases', { attachment: attachment('a') }),
    'refused at once, not left to wait',
  )
  for (const socket of sockets) socket.destroy()
  await Promise.all(sockets.map(whenClosed))
  const deadline = performance.now() + TIMEOUT_MS
  let status = 0
  while (status !== 200 && performance.now() < deadline) {
    status = await post(daemon.socket, '/v1/leases', { attachment: attachment('a') }).then(
      answer => answer.status,
      () => 0,
    )
  }
  t.equal(status, 200)
})

t.test('a client that sends its request byte by byte is dropped, and nobody waits for it', async t => {
  await using daemon = await startForTest()
  const slow = await idle(daemon.socket)
  slow.resume()
  const timer = setInterval(() => slow.write('x'), 100)
  // Also when the test fails: it would keep the process alive.
  t.teardown(() => clearInterval(timer))
  slow.write('POST /v1/leases HTTP/1.1\r\nX-Slow: ')
  t.equal((await post(daemon.socket, '/v1/leases', { attachment: attachment('a') })).status, 200)
  await whenClosed(slow)
})

t.test('a body of 10 MB is refused with the limit, and the service goes on', async t => {
  await using daemon = await startForTest()
  const before = process.memoryUsage().arrayBuffers
  const answer = await send(daemon.socket, {
    method: 'POST',
    path: '/v1/leases/collect',
    body: 'x'.repeat(10 * 1024 * 1024),
  })
  t.equal(answer.status, 413)
  t.equal(answer.body['detail'], 'the body has more than 1048576 bytes')
  t.ok(process.memoryUsage().arrayBuffers - before < 64 * 1024 * 1024)
  t.equal((await post(daemon.socket, '/v1/leases', { attachment: attachment('a') })).status, 200)
})

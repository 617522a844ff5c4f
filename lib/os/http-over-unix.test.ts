import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { mkdtempDisposable } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { IpamUnavailable } from '../ipam/errors.ts'
import { Deadline } from '../time/deadline.ts'
import { exchange } from './http-over-unix.ts'

// Not a test folder of tap: the path of a socket has at most 107 bytes.
const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-http-'))
t.teardown(() => folder.remove())
let servers = 0

/** A server whose answer is whatever `answer` does with the connection once a request has come. */
interface Server {
  readonly socketPath: string
  /** All that was received. */
  readonly received: () => string
}

async function serve(t: Tap, answer: (socket: Socket) => void): Promise<Server> {
  const socketPath = join(folder.path, `${servers++}.sock`)
  const sockets = new Set<Socket>()
  let received = ''
  const server = createServer(socket => {
    sockets.add(socket)
    // The client goes away when it has had enough.
    socket.on('error', () => {})
    socket.once('data', () => answer(socket))
    socket.on('data', (chunk: Buffer) => (received += chunk.toString()))
  })
  server.listen(socketPath)
  await once(server, 'listening')
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { socketPath, received: () => received }
}

type Tap = Pick<typeof t, 'teardown'>

const REQUEST = { method: 'GET', path: '/v1/status' } as const

const ANSWERS = [
  { name: 'a whole reply', text: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}', want: { status: 200, body: '{}' } },
  {
    name: 'a reply without a body',
    text: 'HTTP/1.1 204 No Content\r\ncontent-length:0\r\n\r\n',
    want: { status: 204, body: '' },
  },
  {
    name: 'a status without a reason',
    text: 'HTTP/1.1 503\r\nContent-Length: 1\r\n\r\nx',
    want: { status: 503, body: 'x' },
  },
  {
    name: 'a length in bytes, not characters',
    text: 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nü',
    want: { status: 200, body: 'ü' },
  },
] as const
for (const { name, text, want } of ANSWERS) {
  t.test(`exchange() reads ${name}`, async t => {
    const { socketPath } = await serve(t, socket => socket.end(text))
    t.same(await exchange(socketPath, REQUEST, Deadline.in(5_000)), want)
  })
}

t.test('exchange() sends a request that any HTTP server reads, with its body and its length in bytes', async t => {
  const { socketPath, received } = await serve(t, socket => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'))
  await exchange(socketPath, { method: 'POST', path: '/v1/leases', body: { name: 'ü' } }, Deadline.in(5_000))
  t.equal(
    received(),
    'POST /v1/leases HTTP/1.1\r\nHost: ipamd\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"name":"ü"}',
  )
})

t.test('exchange() reads a reply that comes byte by byte', async t => {
  const { socketPath } = await serve(t, socket => {
    const bytes = [...Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow')]
    const sendNext = (): void => {
      const next = bytes.shift()
      if (next === undefined) socket.end()
      else socket.write(Uint8Array.of(next), () => setImmediate(sendNext))
    }
    sendNext()
  })
  t.same(await exchange(socketPath, REQUEST, Deadline.in(5_000)), { status: 200, body: 'slow' })
})

const FAILURES = [
  {
    name: 'an early end',
    answer: (socket: Socket) => socket.end(),
    reason: 'the connection was closed without an answer',
  },
  {
    name: 'an abrupt end',
    answer: (socket: Socket) => socket.destroy(),
    reason: 'the connection was closed without an answer',
  },
  {
    name: 'garbage',
    answer: (socket: Socket) => socket.end('SSH-2.0-OpenSSH_9.2\r\n'),
    reason: 'the answer is not whole',
  },
  {
    name: 'another protocol with a header',
    answer: (socket: Socket) => socket.end('NOPE\r\n\r\n'),
    reason: 'the answer is not whole',
  },
  {
    name: 'an older HTTP',
    answer: (socket: Socket) => socket.end('HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n'),
    reason: 'the answer is not whole',
  },
  {
    name: 'half a header',
    answer: (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\nContent-'),
    reason: 'the answer is not whole',
  },
  {
    name: 'no length',
    answer: (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\n\r\n{}'),
    reason: 'the answer is not whole',
  },
  {
    name: 'too short a body',
    answer: (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}'),
    reason: 'the answer is not whole',
  },
  {
    name: 'too long a body',
    answer: (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}'),
    reason: 'the answer is not whole',
  },
  {
    name: 'chunks, which nobody asked for',
    answer: (socket: Socket) => socket.end('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
    reason: 'the answer is not whole',
  },
  { name: 'a flood', answer: flood, reason: 'a reply of more than 16777216 bytes' },
]
for (const { name, answer, reason } of FAILURES) {
  t.test(`exchange() refuses ${name} for an answer, and names the socket`, async t => {
    const { socketPath } = await serve(t, answer)
    const failure: unknown = await exchange(socketPath, REQUEST, Deadline.in(10_000)).catch((error: unknown) => error)
    t.type(failure, IpamUnavailable)
    const { message } = failure as IpamUnavailable
    t.ok(message.startsWith(`ipamd at ${socketPath}: `))
    t.match(message.slice(`ipamd at ${socketPath}: `.length), reason)
  })
}

for (const { name, answer } of [
  { name: 'nobody answers', answer: () => {} },
  { name: 'an answer never ends', answer: (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\n') },
  {
    name: 'a whole answer keeps the connection open',
    answer: (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'),
  },
]) {
  t.test(`exchange() gives up at its deadline when ${name} (invariant 6)`, async t => {
    const { socketPath } = await serve(t, answer)
    const startedAtMs = performance.now()
    await t.rejects(exchange(socketPath, REQUEST, Deadline.in(50)), {
      name: 'IpamUnavailable',
      message: /: no answer in time$/,
    })
    t.ok(performance.now() - startedAtMs < 2_000)
  })
}

t.test('exchange() says why nobody could be reached', async t => {
  await t.rejects(exchange(join(folder.path, 'none'), REQUEST, Deadline.in(1_000)), {
    message: /: nobody listens \(ENOENT\): want a running ipamd with this socket$/,
    wasNeverAsked: true,
  })
  writeFileSync(join(folder.path, 'file'), '')
  await t.rejects(exchange(join(folder.path, 'file'), REQUEST, Deadline.in(1_000)), {
    message: /: nobody listens \(ECONNREFUSED\): /,
    wasNeverAsked: true,
  })
})

function flood(socket: Socket): void {
  const chunk = Buffer.alloc(1024 * 1024)
  const send = (): void => void (socket.writable && socket.write(chunk, error => (error ? undefined : send())))
  send()
}

import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { mkdtempDisposable, rename } from 'node:fs/promises'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createSocketServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { IpamProblem } from '../lib/ipam/errors.ts'
import { NobodyReads, run, type Edges } from './run.ts'
import { PLAIN } from './style.ts'

// Not a test folder of tap: the path of a socket has at most 107 bytes.
const folder = await mkdtempDisposable(join(tmpdir(), 'tullectl-'))
t.teardown(() => folder.remove())
let sockets = 0

function socketPath(): string {
  return join(folder.path, `${sockets++}.sock`)
}

interface Ended {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

async function tullectl(args: readonly string[], edges: Partial<Edges> = {}): Promise<Ended> {
  let stdout = ''
  let stderr = ''
  const exitCode = await run(args, {
    version: '1.2.3',
    style: PLAIN,
    nowUnixMs: () => 0,
    write: async text => void (stdout += text),
    complain: text => void (stderr += text),
    ...edges,
  })
  return { exitCode, stdout, stderr }
}

async function serve(t: Test, answer: RequestListener): Promise<string> {
  const path = socketPath()
  const server = createServer(answer)
  server.listen(path)
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return path
}

function replying(status: number, document: object): RequestListener {
  return (_request, response) => {
    const body = JSON.stringify(document)
    response.writeHead(status, { 'content-length': Buffer.byteLength(body), connection: 'close' }).end(body)
  }
}

const POOLS = {
  pools: [{ name: 'p', prefixes: ['10.0.0.0/24'], blocks: [], leased: 0, cooling: 0, capacity: '9', colour: 'new' }],
}

t.test('run() shows a table, or with --output json all that ipamd answered', async t => {
  const socket = await serve(t, replying(200, POOLS))
  t.match(await tullectl(['pools', '--socket', socket]), { exitCode: 0, stdout: /^POOL  LEASED/, stderr: '' })
  const { exitCode, stdout } = await tullectl(['pools', '--socket', socket, '--output', 'json'])
  t.equal(exitCode, 0)
  t.same(JSON.parse(stdout), POOLS)
})

t.test('run() says where there is no daemon, and what to look at: exit code 3', async t => {
  const missing = socketPath()
  const { exitCode, stdout, stderr } = await tullectl(['status', '--socket', missing])
  t.equal(exitCode, 3)
  t.equal(stdout, '')
  t.equal(
    stderr.split('\n')[0],
    `tullectl: ipamd at ${missing}: nobody listens (ENOENT): want a running ipamd with this socket`,
  )
  t.match(stderr, /Does ipamd run, and does "socket" in its configuration say the same\? --socket PATH/)
})

t.test('run() tells a daemon that was killed from a file that is no socket: exit code 3', async t => {
  const path = socketPath()
  const server = createSocketServer().listen(path)
  await once(server, 'listening')
  // What SIGKILL leaves: the file, and nobody behind it.
  const { promise, resolve } = Promise.withResolvers<void>()
  await rename(path, `${path}.left`)
  server.close(() => resolve())
  await promise
  t.match(await tullectl(['pools', '--socket', `${path}.left`]), {
    exitCode: 3,
    stderr: /ECONNREFUSED\).*\nThe socket is there, but nobody listens/,
  })
  writeFileSync(path, '')
  t.match(await tullectl(['pools', '--socket', path]), { exitCode: 3, stderr: /ipamd at / })
})

t.test('run() does not wait longer than --timeout: exit code 3', async t => {
  const socket = await serve(t, () => {})
  const startedAtMs = performance.now()
  t.match(await tullectl(['pools', '--socket', socket, '--timeout', '0.05']), {
    exitCode: 3,
    stderr: /no answer in time\n.*--timeout SECONDS waits longer/,
  })
  t.match(await tullectl(['watch', '--socket', socket, '--timeout', '0.05']), {
    exitCode: 3,
    stderr: /no answer in time/,
  })
  t.ok(performance.now() - startedAtMs < 5000)
})

t.test('run() shows the reason of a refusal, which cannot steer the terminal: exit code 1', async t => {
  const problem = new IpamProblem('busy', 'block 10.0.0.0/24 is not ready\u001B[2J')
  const socket = await serve(t, replying(503, problem.toWire()))
  const wanted = { exitCode: 1, stdout: '', stderr: 'tullectl: block 10.0.0.0/24 is not ready\\u{1b}[2J\n' }
  t.same(await tullectl(['pools', '--socket', socket]), wanted)
  t.same(await tullectl(['watch', '--socket', socket]), wanted)
})

t.test('run() takes an answer that is not of ipamd for none: exit code 3', async t => {
  const socket = await serve(t, (_request, response) => response.writeHead(502, { 'content-length': 2 }).end('no'))
  t.match(await tullectl(['pools', '--socket', socket]), {
    exitCode: 3,
    stderr: /an answer \(502\) that cannot be read/,
  })
  t.match(await tullectl(['watch', '--socket', socket]), {
    exitCode: 3,
    stderr: /that cannot be read|stream of events broke/,
  })
})

t.test('run() shows events as they come, a document on each line, and fails when the daemon ends', async t => {
  const event = { id: 1, atUnixMs: 0, kind: 'block-taken', pool: 'p', block: '10.0.0.0/24' }
  const socket = await serve(t, (request, response) => {
    t.equal(request.url, '/v1/events')
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    response.write('retry: 1000\n\n: alive\n\n')
    response.end(`id: 1\nevent: block-taken\ndata: ${JSON.stringify(event)}\n\n`)
  })
  t.same(await tullectl(['watch', '--socket', socket, '--output', 'json']), {
    exitCode: 3,
    stdout: `${JSON.stringify(event)}\n`,
    stderr: `tullectl: ipamd at ${socket}: the stream of events ended\nThe log of ipamd says more. When it is only slow: --timeout SECONDS waits longer.\n`,
  })
})

t.test('run() ends without a word when nobody reads any more', async t => {
  const socket = await serve(t, replying(200, POOLS))
  const write = () => Promise.reject(new NobodyReads())
  t.same(await tullectl(['pools', '--socket', socket], { write }), { exitCode: 0, stdout: '', stderr: '' })
})

t.test('run() refuses wrong arguments: exit code 2', async t => {
  t.match(await tullectl(['pool']), { exitCode: 2, stdout: '', stderr: /^tullectl: "pool": no such command/ })
})

t.test('run() prints help and version', async t => {
  t.same(await tullectl(['version']), { exitCode: 0, stdout: 'tullectl 1.2.3\n', stderr: '' })
  t.match(await tullectl(['help']), { exitCode: 0, stdout: /^Usage: tullectl .*Exit codes:\n {2}0 {2}done\n/s })
  t.equal(
    (await tullectl(['help', 'history'])).stdout,
    `\
Usage: tullectl history ADDRESS [OPTION ...]

Show who held an address, the latest first.

--at takes a time of day (14:03, the last one), 2026-11-23T14:03, or RFC 3339 with a zone. Without a zone it is UTC, as is
every time that is printed.

Options:
  --at TIME  only who held it at this time
`,
  )
})

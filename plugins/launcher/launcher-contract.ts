import { execFile, execFileSync, spawn } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t, { type Test } from 'tap'
import { CniError } from '../../lib/cni/errors.ts'
import { failed } from '../../lib/attach/plugin-run.ts'
import { readStdin } from '../../lib/os/stdin.ts'
import { Deadline } from '../../lib/time/deadline.ts'

const STDIN = '{"cniVersion":"1.1.0","name":"pods"}'
const REPLY = [
  'HTTP/1.1 200 OK',
  'content-type: application/json',
  'content-length: 10',
  'connection: close',
  'tulle-exit-code: 7',
  '',
  '{"ips":[]}',
].join('\r\n')

const DRAINING = 'HTTP/1.1 421 Misdirected Request\r\ntulle-decline: draining\r\ncontent-length: 0\r\n\r\n'

interface Ended {
  readonly exitCode: number | null
  readonly stdout: string
}

interface LauncherRun {
  readonly socket?: string
  readonly env?: Readonly<Record<string, string>>
  /** Undefined: standard input stays open. */
  readonly stdin?: string | undefined
}

const BROKEN = [
  { name: 'another protocol', reply: 'SSH-2.0-x\r\n\r\n' },
  { name: 'HTTP/1.0', reply: REPLY.replace('HTTP/1.1', 'HTTP/1.0') },
  { name: 'no content-length', reply: REPLY.replace('content-length: 10\r\n', '') },
  {
    name: 'two content-lengths',
    reply: REPLY.replace('content-length: 10', 'content-length: 10\r\ncontent-length: 10'),
  },
  { name: 'a content-length that is none', reply: REPLY.replace('length: 10', 'length: 1O') },
  { name: 'a content-length beyond all numbers', reply: REPLY.replace('length: 10', 'length: 99999999999999999999') },
  { name: 'chunks', reply: REPLY.replace('connection: close', 'transfer-encoding: chunked') },
  { name: 'no exit code', reply: REPLY.replace('tulle-exit-code: 7\r\n', '') },
  { name: 'an exit code that no process has', reply: REPLY.replace('code: 7', 'code: 256') },
  { name: 'more than it says', reply: `${REPLY}x` },
  { name: 'a header without a colon', reply: REPLY.replace('connection: close', 'connection') },
  { name: 'a head without end', reply: `${REPLY.slice(0, 30)}${'x'.repeat(8192)}` },
  { name: 'a body without end', reply: REPLY.replace('length: 10', 'length: 999999999').padEnd(6 * 1024 * 1024, 'x') },
]

/** A launcher that was built. */
export interface LauncherSubject {
  readonly path: string
  /** What runs the programs of its architecture here; nothing where that is the machine's own. */
  readonly emulator: readonly [] | readonly [string, ...string[]]
  /** How large the file may be, in bytes. */
  readonly maxBytes: number
}

/** What a launcher does for daemons that answer, and for those that fail it in every way (DESIGN: the launcher). */
export function testLauncher(subject: LauncherSubject): void {
  const folder = mkdtempSync(join(tmpdir(), 'tulle-launcher-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  const LAUNCHER = join(folder, 'tulle')
  copyFileSync(subject.path, LAUNCHER)
  // In place of the Node executable: says how it was started.
  writeFileSync(
    join(folder, 'tulle-node'),
    '#!/bin/sh\necho "as $0"\nenv | grep ^TULLE_ | sed "s/^TULLE_ASKED_AT=[0-9]*$/TULLE_ASKED_AT=then/" | sort\necho "stdin:"\nexec cat\n',
  )
  chmodSync(join(folder, 'tulle-node'), 0o755)

  async function launch({ socket = '/nonexistent', env = {}, ...input }: LauncherRun): Promise<Ended> {
    const [file, ...args] = [...subject.emulator, LAUNCHER] as const
    const child = spawn(file, args, {
      env: { PATH: process.env['PATH'], CNI_COMMAND: 'ADD', TULLE_IPAMD_SOCKET: socket, ...env },
      stdio: ['pipe', 'pipe', 'inherit'],
      timeout: 60_000,
      killSignal: 'SIGKILL',
    })
    child.stdin.on('error', () => {}) // a launcher that has enough does not read on
    const stdin = 'stdin' in input ? input.stdin : STDIN
    if (stdin !== undefined) child.stdin.end(stdin)
    const exited = new Promise<number | null>(resolve => child.once('exit', resolve))
    const stdout = await text(child.stdout)
    const exitCode = await exited
    child.stdin.destroy()
    return { exitCode, stdout }
  }

  /** What the stand-in for tulle-node prints. */
  function directly(socket: string, says: readonly string[], stdin = STDIN): Ended {
    const lines = [`as ${join(folder, 'tulle-node')}`, ...says, `TULLE_IPAMD_SOCKET=${socket}`].toSorted()
    return {
      exitCode: 0,
      stdout: [
        ...lines.filter(line => line.startsWith('as ')),
        ...lines.filter(line => !line.startsWith('as ')),
        `stdin:\n${stdin}`,
      ].join('\n'),
    }
  }

  let sockets = 0

  /** Listens, and lets `answer` have each connection once the whole request is there. Returns what was asked. */
  async function daemon(
    t: Test,
    answer: (connection: Socket, request: string) => void,
  ): Promise<{ readonly socket: string; readonly requests: readonly string[] }> {
    const socket = join(folder, `d${sockets++}.sock`)
    const requests: string[] = []
    const server = createServer({ allowHalfOpen: true }, connection => {
      const chunks: Buffer[] = []
      connection.on('error', () => {})
      connection.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        const request = Buffer.concat(chunks).toString('latin1')
        if (!isWhole(request)) return
        requests.push(request)
        answer(connection, request)
      })
    })
    await new Promise<void>(resolve => server.listen(socket, resolve))
    t.teardown(() => server.close())
    return { socket, requests }
  }

  t.test(
    'the launcher prints the body of the reply and ends with its exit code, in whatever pieces it comes',
    async t => {
      const { socket } = await daemon(t, connection => void dribble(connection))
      t.same(await launch({ socket }), { exitCode: 7, stdout: '{"ips":[]}' })
    },
  )

  t.test('the launcher does not wait for the end of the connection when the reply is whole', async t => {
    const { socket } = await daemon(t, connection => void connection.write(REPLY))
    t.same(await launch({ socket }), { exitCode: 7, stdout: '{"ips":[]}' })
  })

  t.test(
    'a connection that breaks at any byte of the reply: tulle-node does it, and knows that ipamd may have',
    async t => {
      let cutAt = 0
      const { socket } = await daemon(t, connection => {
        if (cutAt === 0) connection.destroy()
        else connection.end(REPLY.slice(0, cutAt))
      })
      for (; cutAt < REPLY.length; cutAt++) {
        const ended = await launch({ socket })
        t.same(ended, directly(socket, ['TULLE_ASKED_AT=then', 'TULLE_FALLBACK=broken']), `after ${cutAt} bytes`)
      }
    },
  )

  for (const { name, reply } of BROKEN) {
    t.test(`a reply with ${name} is none`, async t => {
      const { socket } = await daemon(t, connection => void connection.end(reply))
      t.same(await launch({ socket }), directly(socket, ['TULLE_ASKED_AT=then', 'TULLE_FALLBACK=broken']))
    })
  }

  t.test('a daemon that declines: tulle-node does it, and is told why, and that nothing was done', async t => {
    const decline = (head: string) => `HTTP/1.1 421 Misdirected Request\r\n${head}content-length: 2\r\n\r\n{}`
    const replies = new Map([
      [decline('tulle-decline: other-namespace\r\n'), 'other-namespace'],
      [decline(''), 'declined'],
      [decline('tulle-decline: Not One\r\n'), 'declined'],
      [decline(`tulle-decline: ${'x'.repeat(33)}\r\n`), 'declined'],
    ])
    for (const [reply, reason] of replies) {
      const { socket } = await daemon(t, connection => void connection.end(reply))
      t.same(await launch({ socket }), directly(socket, [`TULLE_FALLBACK=${reason}`]), reason)
    }
    const { socket } = await daemon(t, connection => void connection.end(decline('tulle-decline: late\r\n')))
    const begun = ['TULLE_ASKED_AT=then', 'TULLE_FALLBACK=late']
    t.same(await launch({ socket }), directly(socket, begun), 'but what was late may have begun')
  })

  t.test('a daemon that answers before it has read the request, and closes, is heard', async t => {
    const socket = join(folder, 'early.sock')
    const server = createServer(connection => {
      connection.on('error', () => {})
      connection.end('HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n', () => connection.destroy())
    })
    await new Promise<void>(resolve => server.listen(socket, resolve))
    t.teardown(() => server.close())
    const stdin = 'x'.repeat(1024 * 1024)
    t.same(await launch({ socket, stdin }), directly(socket, ['TULLE_FALLBACK=declined'], stdin))
  })

  t.test('nobody listens: tulle-node does it', async t => {
    const stale = join(folder, 'stale.sock')
    const server = createServer()
    await new Promise<void>(resolve => server.listen(stale, resolve))
    const isClosed = new Promise(resolve => server.close(resolve))
    await isClosed
    // Node removes the file of a socket that it closes.
    writeFileSync(stale, '')
    for (const socket of [join(folder, 'absent.sock'), stale, `/${'x'.repeat(107)}`, folder])
      t.same(await launch({ socket }), directly(socket, ['TULLE_FALLBACK=unreachable']), socket)
  })

  t.test(
    'an ipamd that says that it stops, and has just written to its lock, is waited for: the next one does it',
    async t => {
      let asked = 0
      const { socket } = await daemon(t, connection => void connection.end(++asked < 3 ? DRAINING : REPLY))
      // Without its lock it is no ipamd that comes back.
      t.same(await launch({ socket }), directly(socket, ['TULLE_FALLBACK=draining']))
      asked = 0
      writeFileSync(`${socket}.lock`, '')
      for (const CNI_COMMAND of ['ADD', 'STATUS']) {
        t.same(await launch({ socket, env: { CNI_COMMAND } }), { exitCode: 7, stdout: '{"ips":[]}' }, CNI_COMMAND)
        t.equal(asked, 3, CNI_COMMAND)
        asked = 0
      }
      t.same(
        await launch({ socket, env: { CNI_COMMAND: 'DEL' } }),
        directly(socket, ['TULLE_FALLBACK=draining']),
        'DEL',
      )
    },
  )

  t.test('an ipamd that is away, and was there a moment ago, is waited for', async t => {
    const socket = join(folder, `d${sockets++}.sock`)
    writeFileSync(`${socket}.lock`, '')
    const next = createServer(connection => {
      connection.on('error', () => {})
      connection.once('data', () => void connection.end(REPLY))
    })
    const first = createServer(connection => {
      connection.on('error', () => {})
      connection.once('data', () => void connection.end(DRAINING))
      // From here on there is no socket, until the last connection of the first has ended.
      first.close(() => next.listen(socket))
    })
    await new Promise<void>(resolve => first.listen(socket, resolve))
    t.teardown(() => next.close())
    t.same(await launch({ socket }), { exitCode: 7, stdout: '{"ips":[]}' })
  })

  t.test('an ipamd that has gone away for good is not waited for', async t => {
    const socket = join(folder, `d${sockets++}.sock`)
    writeFileSync(`${socket}.lock`, '')
    for (const ageSeconds of [32, -60]) {
      const then = Date.now() / 1000 - ageSeconds
      utimesSync(`${socket}.lock`, then, then)
      const startedAtMs = monotonicMs()
      t.same(await launch({ socket }), directly(socket, ['TULLE_FALLBACK=unreachable']), `${ageSeconds} s ago`)
      t.ok(monotonicMs() - startedAtMs < 15_000, 'at once')
    }
  })

  t.test(
    'what an ipamd has begun before it was replaced, tulle-node goes on with when the next one is there',
    async t => {
      let asked = 0
      const { socket } = await daemon(t, connection => {
        asked++
        connection.destroy()
      })
      writeFileSync(`${socket}.lock`, '')
      t.same(await launch({ socket }), directly(socket, ['TULLE_ASKED_AT=then', 'TULLE_FALLBACK=broken']))
      t.equal(asked, 1, 'nobody is asked twice for what may be done')
    },
  )

  t.test('a daemon that does not answer is not waited for after the deadline that it was told', async t => {
    const { socket, requests } = await daemon(t, () => {})
    const startedAtMs = monotonicMs()
    const ended = await launch({ socket, env: { CNI_COMMAND: 'VERSION' } })
    const tookMs = monotonicMs() - startedAtMs
    t.same(ended, directly(socket, ['TULLE_ASKED_AT=then', 'TULLE_FALLBACK=late']))
    const deadlineMs = Number(headerOf(requests[0], 'Tulle-Deadline'))
    t.ok(deadlineMs >= startedAtMs + 1000 && deadlineMs <= startedAtMs + tookMs, `it waited until ${deadlineMs}`)
  })

  t.test('the request has CNI_*, PATH and trace context, and nothing else of the environment', async t => {
    const { socket, requests } = await daemon(t, connection => void connection.end(REPLY))
    const env = {
      CNI_COMMAND: 'ADD',
      CNI_NETNS: '/proc/self/ns/net',
      CNI_ARGS: 'K8S_POD_NAME=ü;A=b: c',
      CNI_EMPTY: '',
      PATH: '/usr/bin:/bin',
      TRACEPARENT: '00-1-2-01',
      TRACESTATE: 'a=b',
      BAGGAGE: 'c=d',
    }
    await launch({
      socket,
      env: { ...env, HOME: '/root', LD_PRELOAD: '', AWS_SECRET: 'x', PATHS: 'x', TULLE_FALLBACK: 'x' },
    })
    const [request = ''] = requests
    const sent = [...request.matchAll(/^Env-(\w+): (.*)\r$/gm)].map(([, name, value = '']) => [
      name,
      Buffer.from(value, 'latin1').toString(),
    ])
    t.same(Object.fromEntries(sent), env)
    t.notMatch(request, /secret|HOME|LD_PRELOAD/i)
    t.match(request, /^POST \/v1\/cni HTTP\/1\.1\r\n/)
    t.ok(request.endsWith(`\r\n\r\n${STDIN}`), 'the configuration is the body')
  })

  t.test('the request says which namespaces and which folder of locks the launcher sees', async t => {
    const { socket, requests } = await daemon(t, connection => void connection.end(REPLY))
    const identity = (path: string): string => {
      const { dev, ino } = statSync(path, { bigint: true })
      return `${dev}:${ino}`
    }
    await launch({ socket, env: { CNI_NETNS: '/proc/self/ns/net' } })
    t.equal(headerOf(requests[0], 'Tulle-Host-Netns'), identity('/proc/self/ns/net'))
    t.equal(headerOf(requests[0], 'Tulle-Pod-Netns'), identity('/proc/self/ns/net'))
    const runFolder = existsSync('/run/tulle') ? identity('/run/tulle') : undefined
    t.equal(headerOf(requests[0], 'Tulle-Run-Folder'), runFolder)
    await launch({ socket, env: { CNI_NETNS: '/dev' } })
    t.equal(headerOf(requests[1], 'Tulle-Pod-Netns'), identity('/dev'), 'whatever is there')
    await launch({ socket, env: { CNI_NETNS: '/nonexistent' } })
    t.equal(headerOf(requests[2], 'Tulle-Pod-Netns'), undefined)
  })

  t.test('an environment that a header cannot say as it is goes to tulle-node, and no byte of it to ipamd', async t => {
    const { socket, requests } = await daemon(t, connection => void connection.end(REPLY))
    const cases: readonly Readonly<Record<string, string>>[] = [
      { CNI_ARGS: 'a\r\nTulle-Deadline: 1' },
      { CNI_ARGS: 'a\nb' },
      { CNI_ARGS: 'a\rb' },
      { CNI_ARGS: 'a\tb' },
      { CNI_ARGS: ' a' },
      { CNI_ARGS: 'a ' },
      { 'CNI_A B': 'x' },
      { 'CNI_A:B': 'x' },
      { CNI_ARGS: 'x'.repeat(16 * 1024) },
      { CNI_ARGS: 'a', CNI_args: 'b' },
    ]
    for (const env of cases)
      t.same(await launch({ socket, env }), directly(socket, []), JSON.stringify(env).slice(0, 60))
    t.same(requests, [])
  })

  t.test(
    'by hand, and with a verb that nobody knows, tulle-node is asked at once: its input is not touched',
    async t => {
      const { socket, requests } = await daemon(t, connection => void connection.end(REPLY))
      for (const command of ['', 'ADDED', 'add'])
        t.same(await launch({ socket, env: { CNI_COMMAND: command } }), directly(socket, []), command)
      t.same(requests, [])
    },
  )

  t.test('input of up to 1 MiB is passed on, and one byte more is for tulle-node to refuse', async t => {
    const { socket, requests } = await daemon(t, connection => void connection.end(REPLY))
    const most = 'x'.repeat(1024 * 1024)
    t.same(await launch({ socket, stdin: most }), { exitCode: 7, stdout: '{"ips":[]}' })
    t.ok(requests[0]?.endsWith(`\r\n\r\n${most}`))
    t.same(await launch({ socket, stdin: `${most}yz` }), directly(socket, [], `${most}y`))
    t.same(await launch({ socket, stdin: '' }), { exitCode: 7, stdout: '{"ips":[]}' })
    t.equal(requests.length, 2)
  })

  t.test(
    'input that does not end gets the answer that tulle-node would give; VERSION does without',
    { timeout: 30_000 },
    async t => {
      const refusal = thrownBy(() => readStdin({ addon: { waitReadable: () => false }, fd: 0, by: Deadline.in(0) }))
      const endless = { stdin: undefined, socket: '/nonexistent' }
      const [status, version] = await Promise.all([
        launch({ ...endless, env: { CNI_COMMAND: 'STATUS' } }),
        launch({ ...endless, env: { CNI_COMMAND: 'VERSION' } }),
      ])
      t.same(status, { exitCode: 1, stdout: failed(refusal, '').stdout })
      t.same(version, directly('/nonexistent', [], ''))
    },
  )

  t.test('without tulle-node beside it, the launcher prints an error document', async t => {
    const alone = join(t.testdir(), 'tulle')
    copyFileSync(LAUNCHER, alone)
    const { stdout, exitCode } = await new Promise<Ended>(resolve => {
      const [file, ...args] = [...subject.emulator, alone] as const
      const child = execFile(file, args, { env: { CNI_COMMAND: 'STATUS', TULLE_IPAMD_SOCKET: '/x' } }, (_, stdout) =>
        resolve({ exitCode: child.exitCode, stdout }),
      )
      child.stdin?.end()
    })
    t.equal(exitCode, 1)
    t.match(JSON.parse(stdout), { cniVersion: '1.1.0', code: 5, msg: /^Cannot execute tulle-node/ })
  })

  t.test(
    'the executable needs nothing, is loaded anywhere, and has no page that is writable and executable',
    async t => {
      const elf = execFileSync('readelf', ['--wide', '--program-headers', '--dynamic', '--relocs', LAUNCHER]).toString()
      t.match(elf, /type is DYN/, 'it can be anywhere')
      t.notMatch(elf, /INTERP|NEEDED/, 'without another program or library')
      t.match(elf, /no relocations/)
      t.match(elf, /GNU_RELRO/)
      t.match(elf, /GNU_STACK.* RW /, 'a stack for data')
      t.notMatch(elf, / RWE /)
      t.ok(lstatSync(LAUNCHER).size < subject.maxBytes, 'small')
    },
  )
}

/** Sends the reply byte by byte, each when the one before it is out. */
async function dribble(connection: Socket): Promise<void> {
  for (const byte of REPLY) await new Promise<void>(resolve => connection.write(byte, () => resolve()))
  connection.end()
}

function isWhole(request: string): boolean {
  const end = request.indexOf('\r\n\r\n')
  const length = /^content-length: (\d+)\r$/im.exec(request)?.[1]
  return end !== -1 && request.length >= end + 4 + Number(length)
}

function headerOf(request: string | undefined, name: string): string | undefined {
  return new RegExp(`^${name}: (.*)\\r$`, 'm').exec(request ?? '')?.[1]
}

function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}

function thrownBy(run: () => unknown): CniError {
  try {
    run()
  } catch (failure) {
    if (failure instanceof CniError) return failure
    throw failure
  }
  throw new Error('nothing was thrown')
}

import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { encodeSpoolEntry, spoolFileName } from '../lib/ipam/spool-entry.ts'
import { parseAddress } from '../lib/net/address.ts'
import { formatPrefix } from '../lib/net/prefix.ts'
import { loadAddon } from '../native/addon.ts'
import { buildAddon } from '../native/build.ts'
import { parseConfig, type IpamdConfig } from './config.ts'
import { start, type Daemon, type DaemonEdges } from './daemon.ts'
import { jsonLog } from '../lib/log/json-log.ts'
import { post, send } from './test-request.ts'

const ADDON = join(import.meta.dirname, '..', 'dist', 'bin', 'lib', 'tulle.node')
await buildAddon(ADDON)
const addon = loadAddon(ADDON)

interface Rig {
  readonly folder: string
  readonly socket: string
  readonly config: IpamdConfig
  readonly log: string[]
  nowUnixMs: number
  readonly start: (edges?: Partial<DaemonEdges>) => Promise<Daemon>
}

/** A configuration in a folder of its own. Daemons that it starts are closed after the test. */
function rig(t: Test, pool: object = {}): Rig {
  const folder = mkdtempSync(join(tmpdir(), 'ipamd-test-'))
  const socket = join(folder, 'run', 'ipamd.sock')
  const text = JSON.stringify({
    socket,
    stateDir: join(folder, 'state'),
    pools: [{ name: 'default', prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'], ...pool }],
  })
  const daemons: Daemon[] = []
  t.teardown(async () => {
    for (const daemon of daemons) await daemon.close()
    rmSync(folder, { recursive: true })
  })
  const made: Rig = {
    folder,
    socket,
    config: parseConfig(text, 'n1'),
    log: [],
    nowUnixMs: 1_700_000_000_000,
    start: async (edges = {}) => {
      const daemon = await start(made.config, {
        log: jsonLog(line => made.log.push(line)),
        pid: process.pid,
        uid: process.getuid?.() ?? 0,
        nowUnixMs: () => made.nowUnixMs,
        uptimeMs: () => made.nowUnixMs,
        boot: { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 },
        tryLock: fd => addon.tryLock(fd),
        peerCredentials: fd => addon.peerCredentials(fd),
        onBlockTaken: async () => {},
        onBlockReturned: async () => {},
        readMarks: async () => [],
        ...edges,
      })
      daemons.push(daemon)
      return daemon
    },
  }
  return made
}

function attachment(containerId: string, network = 'net') {
  return { network, containerId, ifName: 'eth0' }
}

function addressesOf(body: Readonly<Record<string, unknown>>): readonly string[] {
  return (body as { lease: { addresses: { address: string }[] } }).lease.addresses.map(each => each.address)
}

t.test('POST /v1/leases gives an address of each family, and the same again', async t => {
  const { socket, start } = rig(t)
  await start()
  const first = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.equal(first.status, 200)
  t.same(first.body, {
    lease: {
      attachment: attachment('a'),
      pool: 'default',
      addresses: [
        { address: '10.244.0.2', prefixLength: 24, block: '10.244.0.0/24', gateway: '10.244.0.1' },
        { address: 'fd00:10:244::2', prefixLength: 64, block: 'fd00:10:244::/64', gateway: 'fd00:10:244::1' },
      ],
      leasedAtUnixMs: 1_700_000_000_000,
    },
    isNew: true,
  })
  const again = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.same(again.body, { ...first.body, isNew: false })
})

t.test('leases outlive a restart (invariant 2)', async t => {
  const { socket, start } = rig(t)
  const daemon = await start()
  const first = await post(socket, '/v1/leases', { attachment: attachment('a') })
  await daemon.close()
  t.notOk(existsSync(socket), 'the socket is gone')
  await start()
  const again = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.same(again.body, { ...first.body, isNew: false })
  const other = await post(socket, '/v1/leases', { attachment: attachment('b') })
  t.same(addressesOf(other.body), ['10.244.0.3', 'fd00:10:244::3'])
})

t.test('200 requests at once get different addresses (invariant 1)', async t => {
  const { socket, start } = rig(t)
  await start()
  const ids = Array.from({ length: 200 }, (_, index) => `c${index}`)
  const answers = await Promise.all(ids.map(id => post(socket, '/v1/leases', { attachment: attachment(id) })))
  t.equal(new Set(answers.flatMap(answer => addressesOf(answer.body))).size, 400)
})

t.test('POST /v1/leases/release compares the owner and the addresses (R7)', async t => {
  const { socket, start } = rig(t)
  await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  const cases = [
    { name: 'another attachment', body: { attachment: attachment('b') }, released: false },
    { name: 'another network', body: { attachment: attachment('a', 'other') }, released: false },
    { name: 'another address', body: { attachment: attachment('a'), addresses: ['10.244.0.9'] }, released: false },
    { name: 'one of two addresses', body: { attachment: attachment('a'), addresses: ['10.244.0.2'] }, released: false },
    {
      name: 'its addresses',
      body: { attachment: attachment('a'), addresses: ['fd00:10:244::2', '10.244.0.2'] },
      released: true,
    },
    { name: 'it again', body: { attachment: attachment('a') }, released: false },
  ]
  for (const { name, body, released } of cases) {
    t.same((await post(socket, '/v1/leases/release', body)).body, { released }, name)
  }
})

t.test('POST /v1/leases/collect frees what is not valid, in its network only (G1, G7)', async t => {
  const { socket, start } = rig(t)
  await start()
  for (const each of [attachment('a'), attachment('b'), attachment('a', 'other')])
    await post(socket, '/v1/leases', { attachment: each })
  const answer = await post(socket, '/v1/leases/collect', {
    network: 'net',
    valid: [{ containerId: 'b', ifName: 'eth0' }],
  })
  t.same(answer.body, { released: [attachment('a')] })
  const left = await send(socket, { path: '/v1/leases' })
  t.same(
    (left.body['leases'] as { attachment: unknown }[]).map(lease => lease.attachment),
    [attachment('b'), attachment('a', 'other')],
  )
  const found = await send(socket, { path: '/v1/leases?network=net&containerId=b&ifName=eth0' })
  t.equal((found.body['leases'] as unknown[]).length, 1)
})

t.test('a used-up pool is refused with its name and counts, also by the status (S3, R32)', async t => {
  const made = rig(t, { prefixes: ['10.0.0.0/30', 'fd00::/64'], cooldownSeconds: 30 })
  const { socket, start } = made
  await start()
  t.same((await send(socket, { path: '/v1/status' })).body, { ready: true })
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  const full = await post(socket, '/v1/leases', { attachment: attachment('b') })
  t.equal(full.status, 503)
  t.equal(full.type, 'application/problem+json')
  t.same(full.body, {
    type: 'urn:tulle:problem:pool-exhausted',
    title: 'The pool has no free address',
    status: 503,
    detail: 'pool "default" has no free IPv4 address: 1 leased, 0 cooling down, 1 in all',
    pool: 'default',
    family: 4,
    leased: 1,
    cooling: 0,
    reserved: 0,
    capacity: '1',
  })
  await post(socket, '/v1/leases/release', { attachment: attachment('a') })
  made.nowUnixMs += 12_000
  const status = await send(socket, { path: '/v1/status?pool=default' })
  t.equal(
    status.body['detail'],
    'pool "default" has no free IPv4 address: 0 leased, 1 cooling down, 1 in all, the next is free in 18 s',
  )
  made.nowUnixMs += 18_000
  t.equal((await send(socket, { path: '/v1/status?pool=default' })).status, 200)
  t.same(addressesOf((await post(socket, '/v1/leases', { attachment: attachment('b') })).body), ['10.0.0.2', 'fd00::3'])
})

t.test('the cooldown outlives a restart (R9)', async t => {
  const made = rig(t, { prefixes: ['10.0.0.0/30'] })
  const { socket, start } = made
  const daemon = await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  await post(socket, '/v1/leases/release', { attachment: attachment('a') })
  await daemon.close()
  await start()
  t.equal((await post(socket, '/v1/leases', { attachment: attachment('b') })).status, 503)
  made.nowUnixMs += 30_000
  t.equal((await post(socket, '/v1/leases', { attachment: attachment('b') })).status, 200)
})

t.test('GET /v1/pools reports blocks and counts', async t => {
  const { socket, start } = rig(t, { exclude: ['10.244.0.128/25'] })
  await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.same((await send(socket, { path: '/v1/pools' })).body, {
    pools: [
      {
        name: 'default',
        prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'],
        blocks: [{ prefix: '10.244.0.0/24' }, { prefix: 'fd00:10:244::/64' }],
        leased: 1,
        cooling: 0,
        // 256 blocks of 253, without 127 (the broadcast address of the first block is never leased anyway).
        capacity: String(256 * 253 - 127),
        families: [
          { family: 4, leased: 1, cooling: 0, capacity: String(256 * 253 - 127) },
          // Of each /64 all but the first two.
          { family: 6, leased: 1, cooling: 0, capacity: String(256n * (2n ** 64n - 2n)) },
        ],
      },
    ],
  })
})

t.test('a deadline that has passed changes nothing (invariant 6)', async t => {
  const { socket, start } = rig(t)
  await start()
  const answer = await post(socket, '/v1/leases', { attachment: attachment('a'), deadlineUnixMs: 1_700_000_000_000 })
  t.equal(answer.status, 503)
  t.equal(answer.body['type'], 'urn:tulle:problem:deadline-passed')
  t.same((await send(socket, { path: '/v1/leases' })).body, { leases: [] })
  await post(socket, '/v1/leases', { attachment: attachment('a'), deadlineUnixMs: 1_700_000_000_001 })
  const late = { deadlineUnixMs: 1_699_999_999_999 }
  t.equal((await post(socket, '/v1/leases/release', { attachment: attachment('a'), ...late })).status, 503)
  t.equal((await post(socket, '/v1/leases/collect', { network: 'net', valid: [], ...late })).status, 503)
  t.equal(((await send(socket, { path: '/v1/leases' })).body['leases'] as unknown[]).length, 1)
})

t.test('bad requests are refused by name', async t => {
  const { socket, start } = rig(t)
  await start()
  const leases = { method: 'POST', path: '/v1/leases' }
  const cases = [
    { request: { path: '/v1/nothing' }, status: 404, detail: /no resource "\/v1\/nothing"/ },
    { request: { path: '/v1/leases/' }, status: 404, detail: /no resource/ },
    { request: { method: 'DELETE', path: '/v1/leases' }, status: 405, detail: /want GET, POST/ },
    { request: { ...leases, body: '{}', type: 'text/plain' }, status: 415, detail: /want application\/json/ },
    { request: { ...leases, body: '{' }, status: 400, detail: /the body is not JSON/ },
    { request: { ...leases, body: [] }, status: 400, detail: /request: \[\]: want a JSON object/ },
    { request: { ...leases, body: {} }, status: 400, detail: /request.attachment: missing: want a JSON object/ },
    {
      request: { ...leases, body: { attachment: attachment('../a') } },
      status: 400,
      detail: /containerId: "..\/a": want/,
    },
    {
      request: { ...leases, body: { attachment: attachment('a'), colour: 1 } },
      status: 400,
      detail: /request.colour: unknown member/,
    },
    {
      request: { ...leases, body: { attachment: attachment('a'), pool: 7 } },
      status: 400,
      detail: /request.pool: 7: want a string/,
    },
    {
      request: { ...leases, body: { attachment: attachment('a'), pool: 'x' } },
      status: 404,
      detail: /no pool "x": want one of default/,
    },
    { request: { ...leases, body: ' '.repeat(1_100_000) }, status: 413, detail: /more than 1048576 bytes/ },
    { request: { ...leases, body: ' '.repeat(10_000_000) }, status: 413, detail: /more than 1048576 bytes/ },
    {
      request: { method: 'POST', path: '/v1/leases/collect', body: { network: 'net' } },
      status: 400,
      detail: /request.valid: missing: want an array/,
    },
    { request: { path: '/v1/leases?colour=1' }, status: 400, detail: /query.colour: unknown parameter/ },
    { request: { path: '/v1/status?pool=x' }, status: 404, detail: /no pool "x"/ },
  ]
  for (const { request, status, detail } of cases) {
    const answer = await send(socket, request)
    t.match(answer, { status, type: 'application/problem+json', body: { status, detail } }, `${status} ${detail}`)
  }
  t.same((await send(socket, { path: '/healthz' })).body, { status: 'ok' })
})

t.test('bytes that are no HTTP get a problem document', async t => {
  const { socket, start } = rig(t)
  await start()
  const received = await new Promise<string>((resolve, reject) => {
    let text = ''
    const client = connect(socket, () => client.write('hello\r\n\r\n'))
    client.setTimeout(5000, () => client.destroy(new Error('no answer')))
    client.on('data', chunk => (text += chunk.toString()))
    client.on('end', () => resolve(text))
    client.on('error', reject)
  })
  t.match(received, /^HTTP\/1.1 400 /)
  t.match(received, /urn:tulle:problem:bad-request/)
})

/** Sends bytes as they are. @returns everything that comes back until the daemon closes the connection. */
function sendBytes(socket: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = ''
    const client = connect(socket, () => client.write(bytes))
    client.setTimeout(5000, () => client.destroy(new Error('no answer')))
    client.on('data', chunk => (text += chunk.toString()))
    client.on('end', () => resolve(text))
    client.on('error', reject)
  })
}

function rawAllocate(containerId: string): string {
  const body = JSON.stringify({ attachment: attachment(containerId) })
  return `POST /v1/leases HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

t.test('of two requests on one connection only the first is carried out: only it is answered', async t => {
  const { socket, start } = rig(t)
  await start()
  t.match(await sendBytes(socket, rawAllocate('a') + rawAllocate('b')), /^HTTP\/1.1 200 [^]*"containerId":"a"/)
  const { leases } = (await send(socket, { path: '/v1/leases' })).body as { leases: object[] }
  t.match(leases, [{ attachment: attachment('a') }])
  t.equal(leases.length, 1)
})

t.test('a caller that goes away in the middle of its request changes nothing, and is no bug of ours', async t => {
  const { socket, start, log } = rig(t)
  const daemon = await start()
  const client = connect(socket, () => client.write(rawAllocate('a').slice(0, -5)))
  await new Promise<void>(resolve => client.once('connect', resolve))
  // Answered after the half request was seen: connections are served in order.
  await send(socket, { path: '/healthz' })
  client.destroy()
  await send(socket, { path: '/healthz' })
  t.same((await send(socket, { path: '/v1/leases' })).body, { leases: [] })
  await daemon.close()
  t.same(
    log.filter(line => line.includes('request failed')),
    [],
  )
})

t.test('strangers are refused, root and our own user are not', async t => {
  const { socket, start } = rig(t)
  let uid = 0
  await start({ peerCredentials: () => ({ uid }), uid: process.getuid?.() ?? 0 })
  t.equal((await send(socket, { path: '/healthz' })).status, 200)
  uid = 4711
  const answer = await send(socket, { path: '/healthz' })
  t.equal(answer.status, 403)
  t.match(answer.body['detail'], /user 4711 may not use this socket/)
})

t.test('folders are private, also those that existed with wider permissions', async t => {
  const { folder, socket, start } = rig(t)
  mkdirSync(join(folder, 'state'), { mode: 0o755 })
  mkdirSync(join(folder, 'run'), { mode: 0o755 })
  chmodSync(join(folder, 'run'), 0o777)
  await start()
  const modes = [join(folder, 'state'), join(folder, 'run'), join(folder, 'run', 'spool'), socket].map(
    path => statSync(path).mode & 0o777,
  )
  t.same(modes, [0o700, 0o700, 0o700, 0o600])
})

t.test('start() refuses a folder that others use', async t => {
  const { config, start: _, ...made } = rig(t)
  const modeBefore = statSync('/tmp').mode
  for (const change of [{ stateDir: '/tmp' }, { stateDir: '/var/lib' }, { socketPath: '/run/ipamd.sock' }]) {
    const attempt = start({ ...config, ...change }, edgesThatFail(made.log))
    await t.rejects(attempt, { message: /Cannot use folder .*: others use it too/ }, JSON.stringify(change))
  }
  t.equal(statSync('/tmp').mode, modeBefore)
})

function edgesThatFail(log: string[]): DaemonEdges {
  function unwanted(): never {
    throw new Error('not wanted')
  }
  return {
    log: jsonLog(line => log.push(line)),
    pid: 1,
    uid: process.getuid?.() ?? 0,
    nowUnixMs: unwanted,
    uptimeMs: unwanted,
    boot: { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 },
    tryLock: unwanted,
    peerCredentials: unwanted,
    onBlockTaken: unwanted,
    readMarks: unwanted,
    onBlockReturned: unwanted,
  }
}

t.test('start() refuses a second daemon on the same state folder, and on the same socket', async t => {
  const { folder, config, start, log } = rig(t)
  await start()
  await t.rejects(start(), {
    message: new RegExp(`state folder ${folder}/state: another ipamd \\(process ${process.pid}\\) uses it`),
  })
  const sameSocket = { ...config, stateDir: join(folder, 'state2') }
  const edges = { ...edgesThatFail(log), tryLock: (fd: number) => addon.tryLock(fd) }
  await t.rejects(startDaemon(sameSocket, edges), {
    message: /socket .*ipamd.sock: another ipamd \(process \d+\) uses it/,
  })
  t.equal((await send(config.socketPath, { path: '/healthz' })).status, 200, 'the first one still answers')
})

const startDaemon = start

t.test('start() replaces a stale socket and leaves a foreign one alone', async t => {
  const { folder, socket, start } = rig(t)
  mkdirSync(join(folder, 'run'), { mode: 0o700 })
  const foreign = createServer()
  await new Promise<void>(resolve => foreign.listen(socket, resolve))
  await t.rejects(start(), { message: /another process listens on it/ })
  t.ok(existsSync(socket))
  // Node removes the file of a server that it closes: put one there that nobody listens on.
  const stale = join(folder, 'stale.sock')
  renameSync(socket, stale)
  await new Promise<void>(resolve => foreign.close(() => resolve()))
  renameSync(stale, socket)
  await start()
  t.equal((await send(socket, { path: '/healthz' })).status, 200)
})

t.test('start() refuses a path that is no socket', async t => {
  const { folder, socket, start } = rig(t)
  mkdirSync(join(folder, 'run'), { mode: 0o700 })
  writeFileSync(socket, 'precious')
  await t.rejects(start(), { message: /it exists and is no socket/ })
  t.ok(existsSync(socket))
})

t.test('the spool is replayed at start, by owner and addresses (R13, R7)', async t => {
  const { folder, socket, start } = rig(t)
  const daemon = await start()
  for (const id of ['a', 'b', 'c']) await post(socket, '/v1/leases', { attachment: attachment(id) })
  await daemon.close()
  const spool = join(folder, 'run', 'spool')
  const v4 = parseAddress('10.244.0.2')
  const v6 = parseAddress('fd00:10:244::2')
  const entries = [
    { attachment: attachment('a'), addresses: [v4, v6], releasedAtUnixMs: 1 },
    { attachment: attachment('b'), addresses: [v4, v6], releasedAtUnixMs: 1 },
    { attachment: attachment('gone'), releasedAtUnixMs: 1 },
  ]
  for (const entry of entries) writeFileSync(join(spool, spoolFileName(entry.attachment)), encodeSpoolEntry(entry))
  writeFileSync(join(spool, '.tmp.json'), 'half')
  await start()
  t.same(readdirSync(spool), ['.tmp.json'], 'what was carried out is gone, what is being written is not touched')
  const left = await send(socket, { path: '/v1/leases' })
  t.same(
    (left.body['leases'] as { attachment: { containerId: string } }[]).map(lease => lease.attachment.containerId),
    ['b', 'c'],
  )
})

t.test('an entry that is none is set aside and stops nothing (R41)', async t => {
  const { folder, start, log } = rig(t)
  const spool = join(folder, 'run', 'spool')
  mkdirSync(spool, { recursive: true, mode: 0o700 })
  writeFileSync(join(spool, 'a.json'), '')
  writeFileSync(join(spool, 'b.json'), '{"format":"tulle-release/9"}')
  writeFileSync(join(spool, 'c.json'), 'x'.repeat(20_000))
  mkdirSync(join(spool, 'd.json'))
  symlinkSync('/etc/passwd', join(spool, 'e.json'))
  await start()
  t.same(readdirSync(spool), ['a.json.bad', 'b.json.bad', 'c.json.bad', 'd.json.bad', 'e.json.bad'])
  t.equal(log.filter(line => line.includes('spool entry set aside')).length, 5)
})

t.test('an entry that cannot be read or set aside stops nothing either (R41)', async t => {
  const { folder, socket, start, log } = rig(t)
  const daemon = await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  await daemon.close()
  const spool = join(folder, 'run', 'spool')
  const server = createServer()
  // open(2) refuses a socket.
  await new Promise<void>(resolve => server.listen(join(spool, '0.json'), resolve))
  t.teardown(() => server.close())
  // rename(2) refuses to put a file in the place of a folder.
  mkdirSync(join(spool, '1.json.bad'))
  writeFileSync(join(spool, '1.json'), 'x')
  const file = join(spool, spoolFileName(attachment('a')))
  writeFileSync(file, encodeSpoolEntry({ attachment: attachment('a'), releasedAtUnixMs: 1 }))
  await start()
  t.same((await send(socket, { path: '/v1/leases' })).body, { leases: [] })
  t.notOk(existsSync(file))
  t.equal(log.filter(line => line.includes('spool entry not read')).length, 2)
})

t.test('start() serves while the store takes no release from the spool', async t => {
  const { folder, socket, start, log } = rig(t)
  const daemon = await start()
  await post(socket, '/v1/leases', { attachment: attachment('a') })
  await daemon.close()
  const file = join(folder, 'run', 'spool', spoolFileName(attachment('a')))
  writeFileSync(file, encodeSpoolEntry({ attachment: attachment('a'), releasedAtUnixMs: 1 }))
  const path = join(folder, 'state', 'ipam.db')
  withDatabase(path, each =>
    each.exec("CREATE TRIGGER full BEFORE DELETE ON lease BEGIN SELECT RAISE(FAIL, 'full'); END"),
  )
  await start()
  t.equal(((await send(socket, { path: '/v1/leases' })).body['leases'] as unknown[]).length, 1, 'nothing is freed')
  t.equal((await post(socket, '/v1/leases', { attachment: attachment('a') })).status, 500, 'its own is done first')
  t.ok(existsSync(file))
  t.match(log.join(''), /spool replay failed.*full/)
})

function withDatabase(path: string, use: (database: DatabaseSync) => void): void {
  const database = new DatabaseSync(path)
  try {
    use(database)
  } finally {
    database.close()
  }
}

t.test('POST /v1/leases carries out the spooled release of the attachment first', async t => {
  const { folder, socket, start } = rig(t)
  await start()
  const first = await post(socket, '/v1/leases', { attachment: attachment('a') })
  const file = join(folder, 'run', 'spool', spoolFileName(attachment('a')))
  writeFileSync(file, encodeSpoolEntry({ attachment: attachment('a'), releasedAtUnixMs: 1 }))
  const second = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.notOk(existsSync(file))
  t.equal(second.body['isNew'], true)
  t.not(addressesOf(second.body)[0], addressesOf(first.body)[0], 'the old address cools down')
  // What the entry asked for is done: nothing may end the new lease.
  const again = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.same(again.body, { ...second.body, isNew: false })
})

t.test('no address of a block is answered before the block is ready, at start too (R29)', async t => {
  const { socket, start } = rig(t)
  const blocks: string[] = []
  let isRefused = true
  const daemon = await start({
    async onBlockTaken(block) {
      if (isRefused) throw new Error('no route today')
      blocks.push(formatPrefix(block))
    },
  })
  const refused = await post(socket, '/v1/leases', { attachment: attachment('a') })
  t.match(refused, {
    status: 503,
    body: { type: 'urn:tulle:problem:busy', detail: /block 10.244.0.0\/24 is not ready: no route today/ },
  })
  isRefused = false
  t.equal((await post(socket, '/v1/leases', { attachment: attachment('a') })).body['isNew'], false)
  await post(socket, '/v1/leases', { attachment: attachment('b') })
  t.same(blocks, ['10.244.0.0/24', 'fd00:10:244::/64'], 'once for each block')
  await daemon.close()
  await start({ onBlockTaken: async block => void blocks.push(formatPrefix(block)) })
  t.equal(blocks.length, 4)
})

t.test('close() ends in less than a second, also with a client that says nothing', async t => {
  const { socket, start } = rig(t)
  const daemon = await start()
  const client = connect(socket)
  await new Promise<void>(resolve => client.once('connect', resolve))
  const closed = new Promise<void>(resolve => client.once('close', () => resolve()))
  const startedAtMs = performance.now()
  await daemon.close()
  t.ok(performance.now() - startedAtMs < 1000, `${performance.now() - startedAtMs} ms`)
  await closed
  t.notOk(existsSync(socket))
})

t.test('a block that takes too long is a refusal, not a connection that breaks', async t => {
  const { socket, start } = rig(t)
  await start({
    onBlockTaken: (_block, by) =>
      new Promise((_resolve, reject) => {
        setTimeout(() => reject(new Error('no route in time')), by.remainingMs())
      }),
  })
  t.match(await post(socket, '/v1/leases', { attachment: attachment('a') }), {
    status: 503,
    body: { type: 'urn:tulle:problem:busy' },
  })
})

t.test(
  'close() ends in less than a second, also with half a request, a request that waits, and a reader of the store',
  async t => {
    const { folder, socket, start } = rig(t)
    let waiting: () => void = () => {}
    const isWaiting = new Promise<void>(resolve => (waiting = resolve))
    const daemon = await start({
      onBlockTaken() {
        waiting()
        return new Promise(() => {})
      },
    })
    const half = connect(socket, () => half.write(rawAllocate('b').slice(0, -5)))
    const waits = post(socket, '/v1/leases', { attachment: attachment('a') }).catch(() => 'broken off')
    await isWaiting
    const reader = new DatabaseSync(join(folder, 'state', 'ipam.db'), { readOnly: true })
    t.teardown(() => reader.close())
    reader.exec('BEGIN; SELECT * FROM lease')
    const startedAtMs = performance.now()
    await daemon.close()
    t.ok(performance.now() - startedAtMs < 1000, `${performance.now() - startedAtMs} ms`)
    t.equal(await waits, 'broken off')
  },
)

t.test(
  'the spool is replayed in batches, and what killed writers left behind for an hour is removed (R13)',
  async t => {
    const { folder, socket, start, log } = rig(t)
    const spool = join(folder, 'run', 'spool')
    mkdirSync(spool, { recursive: true, mode: 0o700 })
    const names = Array.from({ length: 600 }, (_, index) => spoolFileName(attachment(`c${index}`)))
    for (const [index, name] of names.entries()) {
      writeFileSync(join(spool, name), encodeSpoolEntry({ attachment: attachment(`c${index}`), releasedAtUnixMs: 1 }))
    }
    const stale = `.${names[0]}.1699990000000`
    const fresh = `.${names[1]}.1700000000000`
    for (const name of [stale, fresh, '.somebody-elses']) writeFileSync(join(spool, name), 'half')
    const nowUnixSeconds = 1_700_000_000
    utimesSync(join(spool, stale), nowUnixSeconds - 3601, nowUnixSeconds - 3601)
    utimesSync(join(spool, fresh), nowUnixSeconds - 3599, nowUnixSeconds - 3599)
    utimesSync(join(spool, '.somebody-elses'), 0, 0)
    await start()
    t.same(readdirSync(spool).toSorted(), ['.somebody-elses', fresh].toSorted())
    t.equal(log.filter(line => line.includes('half-written spool entry removed')).length, 1)
    t.equal((await send(socket, { path: '/healthz' })).status, 200)
  },
)

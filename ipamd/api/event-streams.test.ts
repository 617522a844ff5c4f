import { createServer, request, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { jsonLog } from '../../lib/log/json-log.ts'
import { StoreReader } from '../store/store-reader.ts'
import { post } from '../test-request.ts'
import { EventStreams } from './event-streams.ts'
import { Metrics } from './metrics.ts'
import { startForTest, type TestDaemon } from './test-daemon.ts'

const TIMEOUT_MS = 10_000

interface Follower {
  /** Resolves to what has come when it matches; rejects when the stream ends, or after a time. */
  readonly until: (wanted: RegExp) => Promise<string>
  readonly ended: Promise<void>
  readonly response: IncomingMessage
}

function follow(socketPath: string, query = '', headers: Readonly<Record<string, string>> = {}): Promise<Follower> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath, path: `/v1/events${query}`, headers }, response => {
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      const ended = new Promise<void>(end => response.once('close', end))
      // A stream that is dropped is a broken answer.
      response.on('error', () => {})
      t.teardown(() => response.destroy())
      resolve({ ended, response, until: wanted => untilMatch(response, wanted, () => text) })
    })
    sent.on('error', reject)
    sent.end()
  })
}

function untilMatch(response: IncomingMessage, wanted: RegExp, read: () => string): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${wanted} in ${read().slice(-300)}`)), TIMEOUT_MS)
    const look = (): void => {
      // The end of it: looking through all that has come each time would make this reader a slow one.
      if (!wanted.test(read().slice(-4096))) return
      clearTimeout(timer)
      response.off('data', look)
      resolve(read())
    }
    response.on('data', look)
    response.once('close', () => reject(new Error(`the stream ended before ${wanted}: ${read().slice(-300)}`)))
    look()
  })
}

function attachment(containerId: string) {
  return { network: 'net', containerId, ifName: 'eth0' }
}

function lease(daemon: TestDaemon, containerId: string): Promise<unknown> {
  return post(daemon.socket, '/v1/leases', { attachment: attachment(containerId) })
}

function idsOf(text: string): readonly number[] {
  return [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id))
}

/** What daemon.ts gives calls that are under way. */
const DRAIN_MS = 600

t.test('GET /v1/events gives what happens, from now on', async t => {
  await using daemon = await startForTest()
  await lease(daemon, 'a')
  const follower = await follow(daemon.socket)
  await lease(daemon, 'b')
  const text = await follower.until(/^id: 6\n[^]*\n\n/m)
  t.same(idsOf(text), [5, 6], 'one for each address of b, none of a')
  const [, data = ''] = /event: leased\ndata: (.*)\n/.exec(text) ?? []
  t.same(JSON.parse(data), {
    id: 5,
    atUnixMs: daemon.nowUnixMs,
    kind: 'leased',
    pool: 'default',
    block: '10.244.0.0/24',
    address: '10.244.0.3',
    attachment: attachment('b'),
  })
})

t.test('GET /v1/events begins behind since, or behind Last-Event-ID, which wins', async t => {
  await using daemon = await startForTest()
  await lease(daemon, 'a')
  for (const [query, headers, want] of [
    ['?since=0', {}, [1, 2, 3, 4]],
    ['?since=2', {}, [3, 4]],
    ['?since=0', { 'last-event-id': '3' }, [4]],
  ] as const) {
    const follower = await follow(daemon.socket, query, headers)
    t.same(idsOf(await follower.until(/^id: 4\n/m)), want)
  }
})

t.test('GET /v1/events misses nothing of more than one batch', async t => {
  await using daemon = await startForTest()
  // Some at once: on a busy machine the last of 400 would wait for longer than a caller does.
  for (let first = 0; first < 400; first += 40) {
    await Promise.all(Array.from({ length: 40 }, (_, index) => lease(daemon, `c${first + index}`)))
  }
  const follower = await follow(daemon.socket, '?since=0')
  // And three blocks.
  const last = 2 * 400 + 3
  const ids = idsOf(await follower.until(new RegExp(`^id: ${last}\n`, 'm')))
  t.same(
    ids,
    Array.from({ length: last }, (_, index) => index + 1),
  )
})

t.test('GET /v1/events says what is not kept any more, and when the ids are those of another store', async t => {
  await using daemon = await startForTest()
  await lease(daemon, 'a')
  const database = new DatabaseSync(join(daemon.folder, 'state', 'ipam.db'))
  database.exec('DELETE FROM event WHERE id <= 2')
  database.close()
  const behind = await (await follow(daemon.socket, '?since=1')).until(/^id: 4\n/m)
  t.match(behind, 'event: lost\ndata: {"after":1,"next":3}\n\nid: 3\n')
  const ahead = await (await follow(daemon.socket, '?since=99')).until(/^id: 4\n/m)
  t.match(ahead, 'event: lost\ndata: {"after":99,"next":3}\n\nid: 3\n')
})

t.test('the stream ends when the daemon does, which does not wait for it', async t => {
  let fastestMs = Infinity
  // A busy machine may stretch one of them; a daemon that waits does so each time.
  for (let tries = 0; tries < 5 && fastestMs >= DRAIN_MS; tries++) {
    const daemon = await startForTest()
    const follower = await follow(daemon.socket)
    await follower.until(/retry/)
    const startedAt = performance.now()
    await daemon[Symbol.asyncDispose]()
    fastestMs = Math.min(fastestMs, performance.now() - startedAt)
    await follower.ended
  }
  t.ok(fastestMs < DRAIN_MS, `no time for draining is used up: ${fastestMs} ms`)
})

t.test('EventStreams drops a reader that takes nothing, and serves the others on', async t => {
  await using daemon = await startForTest()
  await lease(daemon, 'a')
  const path = join(daemon.folder, 'state', 'ipam.db')
  const database = new DatabaseSync(path)
  // Far more than the buffers of a socket hold.
  database.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
    INSERT INTO event (at_unix_ms, kind, pool, detail) SELECT 1, 'reserved', 'p', printf('%0400d', i) FROM n`)
  database.close()
  const reader = new StoreReader(path)
  const metrics = new Metrics()
  const log: string[] = []
  const bounds = { maxStreams: 2, heartbeatMs: 50, stallMs: 300 }
  const streams = new EventStreams(reader, { metrics, log: jsonLog(line => log.push(line)), bounds })
  const server = createServer((_request, response) => streams.open(0)(response))
  const socketPath = join(daemon.folder, 'slow.sock')
  await new Promise<void>(resolve => server.listen(socketPath, resolve))
  t.teardown(() => {
    streams.close()
    server.closeAllConnections()
    server.close()
    reader.close()
  })

  const good = await follow(socketPath)
  await good.until(/^id: 5004\n/m)
  const beats = await good.until(/: alive\n\n: alive\n\n$/)
  t.ok(beats)

  const dropped = new Promise<void>(resolve => {
    const slow = request({ socketPath }, response => {
      response.pause()
      response.on('error', () => {})
      slow.on('close', resolve)
      // It reads on when all is over, and finds the end of what was sent.
      const timer = setInterval(() => {
        if (streams.count > 1) return
        clearInterval(timer)
        response.resume()
      }, 20)
    })
    slow.on('error', () => {})
    slow.end()
  })
  await dropped
  t.equal(streams.count, 1, 'the good one')
  t.match(log.join(''), 'the reader took nothing for 300 ms')
  const [counter] = metrics.read().filter(({ name }) => name === 'tulle_ipamd_event_streams_dropped_total')
  t.match(counter, { samples: [{ value: 1 }] })
})

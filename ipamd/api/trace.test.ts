import { request } from 'node:http'
import t from 'tap'
import { startForTest, type TestDaemon } from './test-daemon.ts'

const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

function status({ socket }: TestDaemon, headers: Readonly<Record<string, string>>): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
  const sent = request({ socketPath: socket, path: '/v1/status', headers, timeout: 5_000 }, response => {
    response.resume().on('end', () => resolve(response.statusCode))
  })
  sent.on('timeout', () => sent.destroy(new Error('no answer in 5 s')))
  sent.on('error', reject)
  sent.end()
  return promise
}

t.test('a request that belongs to a trace is in the log, without its baggage (E11)', async t => {
  await using daemon = await startForTest()
  t.equal(await status(daemon, { traceparent: TRACEPARENT, tracestate: 'v=1', baggage: 'secret=1' }), 200)
  const line = daemon.log.find(each => each.includes(TRACEPARENT)) ?? '{}'
  t.match(JSON.parse(line), {
    method: 'GET',
    url: '/v1/status',
    status: 200,
    traceparent: TRACEPARENT,
    tracestate: 'v=1',
  })
  t.notMatch(daemon.log.join('\n'), /secret/)
})

t.test('a request without a trace, or with none that can be read, is served and not logged (E11)', async t => {
  await using daemon = await startForTest()
  const before = daemon.log.length
  t.equal(await status(daemon, {}), 200)
  t.equal(await status(daemon, { traceparent: 'x', tracestate: 'v=1' }), 200)
  t.equal(daemon.log.length, before)
})

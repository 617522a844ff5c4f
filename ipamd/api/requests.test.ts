import { connect } from 'node:net'
import t from 'tap'
import { attachment, rig, rawAllocate } from '../fake-machine.ts'
import { post, send } from '../test-request.ts'

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

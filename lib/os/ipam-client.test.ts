import { once } from 'node:events'
import { mkdtempDisposable } from 'node:fs/promises'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { formatAddress } from '../net/address.ts'
import { parsePrefix } from '../net/prefix.ts'
import { Deadline } from '../time/deadline.ts'
import { IpamClient } from './ipam-client.ts'

const ATTACHMENT = { network: 'net1', containerId: 'c1', ifName: 'eth0' }
const LEASE = {
  attachment: ATTACHMENT,
  pool: 'default',
  addresses: [{ address: '10.244.1.2', prefixLength: 24, block: '10.244.1.0/24', gateway: '10.244.1.1' }],
  leasedAtUnixMs: 5,
}
const soon = (): Deadline => Deadline.in(5_000)

// An ipamd that gives one answer to everything, and keeps what it was asked.
const asked: string[] = []
let headers: IncomingHttpHeaders = {}
let answer = { status: 200, body: '{}' }
const server = createServer((request, response) => {
  headers = request.headers
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    asked.push(`${request.method} ${request.url} ${Buffer.concat(chunks).toString()}`.trim())
    response.writeHead(answer.status, { 'Content-Length': Buffer.byteLength(answer.body) }).end(answer.body)
  })
})
// Not a test folder of tap: the path of a socket has at most 107 bytes.
const folder = await mkdtempDisposable(join(tmpdir(), 'tulle-client-'))
const socketPath = join(folder.path, 'ipamd.sock')
server.listen(socketPath)
await once(server, 'listening')
t.teardown(async () => {
  server.close()
  await folder.remove()
})
const client = new IpamClient(socketPath)

/** Makes the daemon answer, and returns what it is asked by `ask`. */
async function with200<T>(
  body: object,
  ask: () => Promise<T>,
): Promise<{ readonly reply: T; readonly request: string }> {
  answer = { status: 200, body: JSON.stringify(body) }
  const reply = await ask()
  return { reply, request: asked.at(-1) ?? '' }
}

t.test('IpamClient asks what the API has, and reads the answers', async t => {
  const allocated = await with200({ lease: LEASE, isNew: true }, () =>
    client.allocate({ attachment: ATTACHMENT, pool: 'default' }, soon()),
  )
  t.match(allocated.request, /^POST \/v1\/leases \{.*"containerId":"c1".*\}$/)
  t.same(
    allocated.reply.lease.addresses.map(({ address }) => formatAddress(address)),
    ['10.244.1.2'],
  )

  const released = await with200({ released: false }, () => client.release({ attachment: ATTACHMENT }, soon()))
  t.match([released.request, released.reply], [/^POST \/v1\/leases\/release \{/, false])

  const collected = await with200({ released: [ATTACHMENT] }, () =>
    client.collect({ network: 'net1', valid: [] }, soon()),
  )
  t.match(
    [collected.request, collected.reply],
    [/^POST \/v1\/leases\/collect \{"network":"net1","valid":\[\]\}$/, { released: [ATTACHMENT] }],
  )

  const found = await with200({ leases: [LEASE] }, () => client.find(ATTACHMENT, soon()))
  t.match([found.request, found.reply?.pool], ['GET /v1/leases?network=net1&containerId=c1&ifName=eth0', 'default'])
  t.equal((await with200({ leases: [] }, () => client.find(ATTACHMENT, soon()))).reply, undefined)

  t.equal((await with200({}, () => client.status('blue', soon()))).request, 'GET /v1/status?pool=blue')
  t.equal((await with200({}, () => client.status(undefined, soon()))).request, 'GET /v1/status')

  const handed = { pool: 'pods', podCidrs: ['10.244.1.0/24', 'fd00:10:244:1::/64'], draining: [] }
  const podCidrs = handed.podCidrs.map(parsePrefix)
  const over = await with200(handed, () => client.handOverPodCidrs({ podCidrs }, soon()))
  t.equal(over.request, 'PUT /v1/pod-cidrs {"podCidrs":["10.244.1.0/24","fd00:10:244:1::/64"]}')
  t.same(over.reply, { pool: 'pods', podCidrs, draining: [] })
  const known = await with200(handed, () => client.podCidrs(soon()))
  t.same([known.request, known.reply], ['GET /v1/pod-cidrs', over.reply])
})

t.test('IpamClient sends the trace that the run belongs to with each request (E11)', async t => {
  const trace = { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', baggage: 'k=v' }
  const traced = new IpamClient(socketPath, { trace })
  await with200({}, () => traced.status(undefined, soon()))
  t.match(headers, trace)
  await with200({}, () => client.status(undefined, soon()))
  t.equal(headers['traceparent'], undefined)
})

const REFUSAL = { type: 'urn:tulle:problem:pool-exhausted', title: 'x', status: 503, detail: 'pool default is full' }
const FAILURES = [
  {
    name: 'a refusal',
    status: 503,
    body: JSON.stringify(REFUSAL),
    want: { name: 'IpamProblem', type: 'pool-exhausted', message: 'pool default is full' },
  },
  {
    name: 'a refusal of a newer ipamd',
    status: 400,
    body: '{"type":"urn:tulle:problem:new","title":"New"}',
    want: { name: 'IpamProblem', type: 'internal' },
  },
  {
    name: 'no JSON',
    status: 200,
    body: 'hello',
    want: { name: 'IpamUnavailable', message: /an answer \(200\) that cannot be read/ },
  },
  {
    name: 'another answer',
    status: 200,
    body: '{"leases":4}',
    want: { name: 'IpamUnavailable', message: /cannot be read: reply\.released/ },
  },
  {
    name: 'an error of another server',
    status: 502,
    body: '<html>',
    want: { name: 'IpamUnavailable', message: /an answer \(502\) that cannot be read/ },
  },
] as const
for (const { name, status, body, want } of FAILURES) {
  t.test(`IpamClient tells a refusal from a daemon that cannot be used: ${name}`, async t => {
    answer = { status, body }
    await t.rejects(client.release({ attachment: ATTACHMENT }, soon()), want)
  })
}

t.test('IpamClient asks nothing after the deadline', async t => {
  const before = asked.length
  await t.rejects(client.status(undefined, Deadline.in(0)), { name: 'DeadlineExceeded' })
  t.equal(asked.length, before)
})

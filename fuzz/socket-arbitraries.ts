import fc from 'fast-check'
import { PATHS } from '../lib/ipam/protocol.ts'
import { hostileJson, hostileText, mutatedJson } from './arbitraries.ts'
import type { Json } from './plugin-case.ts'
import type { SocketCase } from './socket-case.ts'

const ATTACHMENT = { network: 'net1', containerId: 'c1', ifName: 'eth0' }

/** Bodies that are good, by path. That of /v1/backup names a file, and is not among them: ipamd would write it. */
const BODIES: readonly (readonly [path: string, body: Json])[] = [
  [PATHS.leases, { attachment: ATTACHMENT, pool: 'default', deadlineUnixMs: 1_700_000_060_000 }],
  [
    PATHS.leases,
    { attachment: ATTACHMENT, pod: { namespace: 'shop', name: 'web-0', uid: 'u1' }, addresses: ['10.244.0.9'] },
  ],
  [PATHS.release, { attachment: ATTACHMENT }],
  [PATHS.collect, { network: 'net1', valid: [{ containerId: 'c1', ifName: 'eth0' }] }],
  [PATHS.reservations, { pool: 'default', address: '10.244.0.77', owner: 'shop/web-0' }],
  [PATHS.endReservation, { pool: 'default', address: '10.244.0.77' }],
  [PATHS.reconcile, {}],
]

const QUERIES = [
  '',
  '?',
  '?pool=default',
  '?network=net1&containerId=c1',
  '?address=10.244.0.2',
  '?since=0&limit=2',
  '?a=%00&=%zz',
]

/** GET of what answers at once; /v1/events stays open. */
const READABLE = Object.values(PATHS).filter(path => path !== PATHS.events)

const method = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('GET', 'POST') },
  {
    weight: 2,
    arbitrary: fc.constantFrom('PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH', 'TRACE', 'CONNECT', 'get', '', 'X'),
  },
)

const header: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(
    'Host: ipamd',
    'Content-Length: 5',
    'Content-Length: -1',
    'Content-Length: 99999999999999999999',
    'Content-Length: 5\r\nContent-Length: 6',
    'Transfer-Encoding: chunked',
    'Transfer-Encoding: chunked, identity',
    'Expect: 100-continue',
    'Connection: keep-alive',
    'Connection: Upgrade\r\nUpgrade: websocket',
    'Content-Type: text/plain',
    'Content-Type: application/json; charset=utf-16',
    'Last-Event-ID: x',
    'X: \u0000',
    ': no name',
    ' folded: x',
    `X-Long: ${'x'.repeat(9_000)}`,
  ),
)

interface Parts {
  readonly verb: string
  readonly target: string
  readonly body: string
  readonly headers: readonly string[]
  readonly hasLength: boolean
}

function toBytes({ verb, target, body, headers, hasLength }: Parts): string {
  const bytes = Buffer.from(body).toString('latin1')
  const own = hasLength ? ['Content-Type: application/json', `Content-Length: ${bytes.length}`] : []
  return `${verb} ${target} HTTP/1.1\r\n${[...own, ...headers].map(line => `${line}\r\n`).join('')}\r\n${bytes}`
}

/** A POST whose body is not what it was. */
const wrongBody = fc
  .constantFrom(...BODIES)
  .chain(([path, body]) =>
    fc.record({
      target: fc.constant(path),
      body: fc.oneof(mutatedJson([body], 3), hostileJson).map(each => JSON.stringify(each)),
    }),
  )
  .map(({ target, body }): Parts => ({ verb: 'POST', target, body, headers: [], hasLength: true }))

/** A request of which some lines are not what they were. */
const wrongHead: fc.Arbitrary<Parts> = fc.record({
  verb: method,
  target: fc.oneof(
    fc
      .tuple(fc.constantFrom(...READABLE.filter(path => path !== PATHS.backup)), fc.constantFrom(...QUERIES))
      .map(pair => pair.join('')),
    hostileText.map(text => `/${encodeURI(text.toWellFormed())}`),
    fc.constantFrom(
      '*',
      '',
      'http://x/v1/status',
      '/v1/../v1/leases',
      '//v1/status',
      '/v1/leases/',
      `/${'a'.repeat(8_500)}`,
    ),
  ),
  body: fc.oneof(
    fc.constant(''),
    hostileText.map(text => text.toWellFormed()),
  ),
  headers: fc.array(header, { maxLength: 3 }),
  hasLength: fc.boolean(),
})

/** Bytes that are no request any more. */
const damaged = fc
  .tuple(
    fc.oneof(wrongBody, wrongHead),
    fc.nat({ max: 400 }),
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.boolean(),
  )
  .map(([parts, at, more, isCut]) => {
    const bytes = toBytes(parts)
    return bytes.slice(0, at) + Buffer.from(more.toWellFormed()).toString('latin1') + (isCut ? '' : bytes.slice(at))
  })

const noise = fc.uint8Array({ maxLength: 300 }).map(bytes => Buffer.from(bytes).toString('latin1'))

/** What a client that is broken, or means harm, writes to the socket. */
export const socketCase: fc.Arbitrary<SocketCase> = fc
  .oneof(
    { weight: 6, arbitrary: wrongBody.map(toBytes) },
    { weight: 4, arbitrary: wrongHead.map(toBytes) },
    { weight: 3, arbitrary: damaged },
    { weight: 1, arbitrary: noise },
    { weight: 1, arbitrary: fc.tuple(wrongBody, wrongBody).map(pair => pair.map(toBytes).join('')) },
  )
  .map(sent => ({ sent }))

import { chmodSync, existsSync, mkdtempSync, openSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020, type AnySchemaObject } from 'ajv/dist/2020.js'
import t, { type Test } from 'tap'
import { encodeSpoolEntry, spoolFileName } from '../../lib/ipam/spool-entry.ts'
import { FakeKernel } from '../../lib/kernel/fake-kernel.ts'
import { FakeNetns } from '../../lib/kernel/fake-netns.ts'
import { noteFallback } from '../../lib/os/fallback-note.ts'
import type { NativeAddon } from '../../native/addon.ts'
import type { CniHost } from '../daemon.ts'
import type { NodeEdges } from '../reconcile/node-edges.ts'
import document from './openapi.json' with { type: 'json' }
import { ROUTES } from './routes.ts'
import { startForTest, type TestDaemon } from './test-daemon.ts'

interface Operation {
  readonly parameters?: readonly { readonly name: string; readonly in: string }[]
  readonly requestBody?: object
  readonly responses: Readonly<Record<string, { readonly content: Readonly<Record<string, object>> }>>
}

const PATHS = document.paths as unknown as Readonly<Record<string, Readonly<Record<string, Operation>>>>

/** Objects of the document may get new members; those of this daemon have none that it does not describe. */
const ajv = new Ajv2020({ strict: false, allErrors: true })
ajv.addSchema(closed(document) as AnySchemaObject, 'ipamd')

function closed(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(closed)
  if (typeof node !== 'object' || node === null) return node
  const copy = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, closed(value)]))
  return 'properties' in copy && !('additionalProperties' in copy) ? { ...copy, additionalProperties: false } : copy
}

t.test('openapi.json describes every route and method, and no other', async t => {
  const documented = Object.entries(PATHS).flatMap(([path, methods]) =>
    Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`),
  )
  const routed = [...ROUTES].flatMap(([path, methods]) => Object.keys(methods).map(method => `${method} ${path}`))
  t.same(documented.toSorted(), routed.toSorted())
})

t.test('openapi.json has schemas that can be compiled, and names each operation once', async t => {
  for (const name of Object.keys(document.components.schemas)) {
    t.doesNotThrow(() => ajv.compile({ $ref: `ipamd#/components/schemas/${name}` }), name)
  }
  const ids = Object.values(document.paths).flatMap(methods =>
    Object.values(methods).map(({ operationId }) => operationId),
  )
  t.equal(new Set(ids).size, ids.length)
})

const A = { network: 'net', containerId: 'a', ifName: 'eth0' }
const POD = { namespace: 'default', name: 'web', uid: 'u' }

/** What is asked of the daemon so that it answers with each status of the document. */
interface Case {
  readonly ask: string
  readonly status: number
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly headersOf?: (daemon: TestDaemon) => Readonly<Record<string, string>>
  readonly given?: (daemon: TestDaemon) => Promise<unknown>
  /** The daemon's pool has one address. */
  readonly isSmall?: boolean
  /** The blocks of the daemon's pool are handed over. */
  readonly isHandedOver?: boolean
  /** The daemon does not look at the kernel. */
  readonly isBlind?: boolean
}

const LEASES = 'POST /v1/leases'
const RELEASE = 'POST /v1/leases/release'
const COLLECT = 'POST /v1/leases/collect'
const HAND_OVER = 'PUT /v1/pod-cidrs'
const GRANT = 'POST /v1/grants'
const END_GRANTS = 'POST /v1/grants/end'
const WISH = { node: 'n2', instance: 'i', sequence: 1, holds: [], wants: [4] }
const RESERVATIONS = 'GET /v1/reservations'
const RESERVE = 'POST /v1/reservations'
const END_RESERVATION = 'POST /v1/reservations/end'
const BACKUP = 'POST /v1/backup'
const CNI = 'POST /v1/cni'
const backups = mkdtempSync(join(tmpdir(), 'ipamd-backups-'))
t.teardown(() => rmSync(backups, { recursive: true }))
const TEXT = { 'content-type': 'text/plain' }
const BIG = 'x'.repeat(1024 * 1024 + 1)
const LATE = { attachment: A, deadlineUnixMs: 1 }

const CASES: readonly Case[] = [
  { ask: LEASES, status: 200, body: { attachment: A, pod: POD } },
  { ask: LEASES, status: 200, body: { attachment: A, within: [{ first: '10.244.0.9', last: '10.244.0.12' }] } },
  { ask: LEASES, status: 400, body: { attachment: { ...A, ifName: '../x' } } },
  { ask: LEASES, status: 400, body: { attachment: A, within: [{ first: '10.9.0.1', last: '10.9.0.2' }] } },
  { ask: LEASES, status: 404, body: { attachment: A, pool: 'none' } },
  {
    ask: LEASES,
    status: 409,
    body: { attachment: { ...A, containerId: 'b' }, addresses: ['10.244.0.2'] },
    given: leaseA,
  },
  { ask: LEASES, status: 413, body: BIG },
  { ask: LEASES, status: 415, body: '{}', headers: TEXT },
  { ask: LEASES, status: 500, body: { attachment: A }, given: breakStore },
  { ask: LEASES, status: 503, body: LATE },
  { ask: RELEASE, status: 200, body: { attachment: A }, given: leaseA },
  { ask: RELEASE, status: 400, body: {} },
  { ask: RELEASE, status: 413, body: BIG },
  { ask: RELEASE, status: 415, body: '{}', headers: TEXT },
  {
    ask: RELEASE,
    status: 500,
    body: { attachment: A },
    given: daemon => leaseA(daemon).then(() => breakStore(daemon)),
  },
  { ask: RELEASE, status: 503, body: LATE },
  { ask: COLLECT, status: 200, body: { network: 'net', valid: [] }, given: leaseA },
  { ask: COLLECT, status: 400, body: { network: 'net' } },
  { ask: COLLECT, status: 413, body: BIG },
  { ask: COLLECT, status: 415, body: '{}', headers: TEXT },
  {
    ask: COLLECT,
    status: 500,
    body: { network: 'net', valid: [] },
    given: daemon => leaseA(daemon).then(() => breakStore(daemon)),
  },
  { ask: COLLECT, status: 503, body: { network: 'net', valid: [], deadlineUnixMs: 1 } },
  { ask: 'GET /v1/leases', status: 200, given: leaseA },
  { ask: 'GET /v1/leases?limit=0', status: 400 },
  { ask: 'GET /v1/pools', status: 200, given: leaseA },
  { ask: 'GET /v1/pools?x=1', status: 400 },
  { ask: 'GET /v1/blocks', status: 200, given: leaseA },
  { ask: 'GET /v1/blocks?x=1', status: 400 },
  { ask: HAND_OVER, status: 200, body: { podCidrs: ['10.1.0.0/24', 'fd01::/64'] }, isHandedOver: true },
  { ask: HAND_OVER, status: 400, body: { podCidrs: [] } },
  { ask: HAND_OVER, status: 404, body: { podCidrs: ['10.1.0.0/24'] } },
  {
    ask: HAND_OVER,
    status: 409,
    body: { podCidrs: ['10.1.0.0/25'] },
    given: daemon => handOver(daemon).then(() => leaseA(daemon)),
    isHandedOver: true,
  },
  { ask: HAND_OVER, status: 413, body: BIG },
  { ask: HAND_OVER, status: 415, body: '{}', headers: TEXT },
  { ask: HAND_OVER, status: 500, body: { podCidrs: ['10.1.0.0/24'] }, given: breakStore, isHandedOver: true },
  { ask: 'GET /v1/pod-cidrs', status: 200, given: handOver, isHandedOver: true },
  { ask: 'GET /v1/pod-cidrs?x=1', status: 400 },
  { ask: 'GET /v1/pod-cidrs', status: 404 },
  { ask: GRANT, status: 200, body: WISH },
  { ask: GRANT, status: 400, body: { ...WISH, wants: [5] } },
  { ask: GRANT, status: 404, body: { ...WISH, pool: 'none' } },
  { ask: GRANT, status: 409, body: WISH, given: daemon => ask(daemon, { ask: GRANT, status: 200, body: WISH }) },
  { ask: GRANT, status: 413, body: BIG },
  { ask: GRANT, status: 415, body: '{}', headers: TEXT },
  { ask: GRANT, status: 500, body: WISH, given: breakStore },
  { ask: GRANT, status: 503, body: WISH, given: leaseA, isSmall: true },
  {
    ask: END_GRANTS,
    status: 200,
    body: { node: 'n2' },
    given: daemon => ask(daemon, { ask: GRANT, status: 200, body: WISH }),
  },
  { ask: END_GRANTS, status: 400, body: {} },
  { ask: END_GRANTS, status: 413, body: BIG },
  { ask: END_GRANTS, status: 415, body: '{}', headers: TEXT },
  {
    ask: END_GRANTS,
    status: 500,
    body: { node: 'n2' },
    given: daemon => ask(daemon, { ask: GRANT, status: 200, body: WISH }).then(() => breakStore(daemon)),
  },
  { ask: 'GET /v1/blocks', status: 200, given: daemon => ask(daemon, { ask: GRANT, status: 200, body: WISH }) },
  { ask: 'GET /v1/history?address=10.244.0.2', status: 200, given: leaseA },
  { ask: 'GET /v1/history?containerId=a', status: 200, given: releasedA },
  { ask: 'GET /v1/history', status: 400 },
  { ask: 'GET /v1/events?since=0', status: 200, given: releasedA },
  { ask: 'GET /v1/events?since=x', status: 400 },
  {
    ask: 'GET /v1/events',
    status: 503,
    given: daemon => Promise.all(Array.from({ length: 32 }, () => follow(daemon))),
  },
  { ask: 'GET /v1/status', status: 200 },
  { ask: 'GET /v1/status?pool=default&pool=x', status: 400 },
  { ask: 'GET /v1/status?pool=none', status: 404 },
  { ask: 'GET /v1/status', status: 503, given: useUpPool },
  { ask: 'POST /v1/reconcile?dryRun=true', status: 200, body: {}, given: leaseA },
  { ask: 'POST /v1/reconcile?dryRun=x', status: 400, body: {} },
  { ask: 'POST /v1/reconcile', status: 404, body: {}, isBlind: true },
  { ask: 'POST /v1/reconcile', status: 413, body: BIG },
  { ask: 'POST /v1/reconcile', status: 415, body: '{}', headers: TEXT },
  { ask: 'GET /v1/check', status: 200, given: leaseA },
  { ask: 'GET /v1/check?x=1', status: 400 },
  { ask: 'GET /v1/check', status: 404, isBlind: true },
  { ask: RESERVATIONS, status: 200, given: reserveForB },
  { ask: `${RESERVATIONS}?x=1`, status: 400 },
  { ask: RESERVE, status: 200, body: { address: '10.244.0.9', owner: 'shop/web-0', note: 'the old name server' } },
  { ask: RESERVE, status: 400, body: { address: '192.0.2.1', owner: 'shop/web-0' } },
  { ask: RESERVE, status: 409, body: { address: '10.244.0.9', owner: 'shop/web-0' }, given: reserveForB },
  { ask: RESERVE, status: 413, body: BIG },
  { ask: RESERVE, status: 415, body: '{}', headers: TEXT },
  { ask: RESERVE, status: 500, body: { address: '10.244.0.9', owner: 'shop/web-0' }, given: breakStore },
  { ask: END_RESERVATION, status: 200, body: { address: '10.244.0.9' }, given: reserveForB },
  { ask: END_RESERVATION, status: 400, body: {} },
  { ask: END_RESERVATION, status: 413, body: BIG },
  { ask: END_RESERVATION, status: 415, body: '{}', headers: TEXT },
  {
    ask: END_RESERVATION,
    status: 500,
    body: { address: '10.244.0.9' },
    given: daemon => reserveForB(daemon).then(() => breakStore(daemon)),
  },
  { ask: BACKUP, status: 200, body: { file: join(backups, 'copy.db') }, given: leaseA },
  { ask: BACKUP, status: 400, body: { file: 'copy.db' } },
  { ask: BACKUP, status: 400, body: { file: '/nowhere/copy.db' } },
  { ask: BACKUP, status: 413, body: BIG },
  { ask: BACKUP, status: 415, body: '{}', headers: TEXT },
  { ask: CNI, status: 200, body: '{}', headersOf: launcherOf },
  { ask: CNI, status: 400, body: '{}', headers: { 'tulle-deadline': 'soon' } },
  { ask: CNI, status: 413, body: BIG },
  { ask: CNI, status: 421, body: '{}', headersOf: launcherOf, isBlind: true },
  { ask: 'GET /v1/served', status: 200, given: leaveFallbackNote },
  { ask: 'GET /v1/served?x=1', status: 400 },
  { ask: 'GET /v1/openapi.json', status: 200 },
  { ask: 'GET /metrics', status: 200, given: leaseA },
  { ask: 'GET /healthz', status: 200 },
  { ask: 'GET /readyz', status: 200 },
  { ask: 'GET /readyz', status: 503, given: leaveOldSpoolEntry },
]

/** Answers that need a store that breaks while it is read, or a kernel that does: no state of a file makes that happen at will. */
const NOT_PROVOKED = [
  ...['leases', 'pools', 'blocks', 'history', 'events', 'pod-cidrs', 'status', 'check', 'reservations'].map(
    name => `GET /v1/${name} 500`,
  ),
  'GET /metrics 500',
  // The node refuses the route of a block.
  'PUT /v1/pod-cidrs 503',
  'POST /v1/reconcile 500',
  'POST /v1/backup 500',
  'POST /v1/cni 500',
  'GET /v1/served 500',
]

/** A node without links and routes. */
function emptyNode(): NodeEdges {
  return {
    openKernel: () => new FakeKernel({ host: new FakeNetns() }),
    lock: async () => ({ [Symbol.dispose]: () => {} }),
    isBusy: () => false,
    isNetnsAlive: () => true,
  }
}

/** A pool whose blocks are handed over. */
const HANDED_OVER = { prefixes: undefined, blockSource: { type: 'kubernetes' } }

t.test('every answer of the document is given, and has the shape that the document says', async t => {
  const given = new Set<string>(NOT_PROVOKED)
  for (const each of CASES) {
    const small = each.isSmall === true || each.ask.startsWith('GET /v1/status') ? { prefixes: ['10.0.0.0/30'] } : {}
    const pool = each.isHandedOver === true ? HANDED_OVER : small
    await using daemon = await startForTest(pool, each.isBlind === true ? {} : { node: emptyNode(), cni: fakeHost() })
    given.add(await checkCase(t, each, daemon))
  }
  await using daemon = await startForTest({}, { uid: 12_345 })
  for (const [path, methods] of ROUTES) {
    for (const method of Object.keys(methods)) {
      given.add(
        await checkCase(
          t,
          { ask: `${method} ${path}`, status: 403, ...(method === 'GET' ? {} : { body: {} }) },
          daemon,
        ),
      )
    }
  }
  const documented = Object.entries(PATHS).flatMap(([path, methods]) =>
    Object.entries(methods).flatMap(([method, { responses }]) =>
      Object.keys(responses).map(status => `${method.toUpperCase()} ${path} ${status}`),
    ),
  )
  t.same([...given].toSorted(), documented.toSorted())
})

t.test('GET /v1/openapi.json answers the document', async t => {
  await using daemon = await startForTest()
  const { text } = await ask(daemon, { ask: 'GET /v1/openapi.json', status: 200 })
  t.same(JSON.parse(text), document)
})

t.test('query parameters of the document are taken, and others are refused', async t => {
  await using usual = await startForTest()
  await using handedOver = await startForTest(HANDED_OVER)
  const values: Readonly<Record<string, string>> = {
    address: '10.244.0.2',
    at: '2026-01-31T14:03:00Z',
    limit: '1',
    after: '0',
    since: '0',
    ifName: 'eth0',
    pool: 'default',
  }
  for (const [path, methods] of Object.entries(PATHS)) {
    const parameters = methods['get']?.parameters?.filter(parameter => parameter.in === 'query') ?? []
    if (parameters.length === 0) continue
    const daemon = path === '/v1/pod-cidrs' ? handedOver : usual
    const query = new URLSearchParams(parameters.map(({ name }) => [name, values[name] ?? 'x']))
    t.equal((await ask(daemon, { ask: `GET ${path}?${query.toString()}`, status: 200 })).status, 200, path)
    query.set('colour', 'red')
    t.equal((await ask(daemon, { ask: `GET ${path}?${query.toString()}`, status: 400 })).status, 400, path)
  }
})

/** Asks, checks status, media type and body, and says which answer of the document it was. */
async function checkCase(t: Test, each: Case, daemon: TestDaemon): Promise<string> {
  await each.given?.(daemon)
  const [method = '', url = ''] = each.ask.split(' ')
  const [path = ''] = url.split('?')
  const { status, type, text } = await ask(daemon, each)
  t.equal(status, each.status, `${each.ask} ${text.slice(0, 200)}`)
  const content = PATHS[path]?.[method.toLowerCase()]?.responses[status]?.content ?? {}
  const [mediaType = ''] = Object.keys(content)
  t.equal(type.split(';')[0], mediaType, each.ask)
  if (mediaType.endsWith('json')) {
    const pointer = [path, method.toLowerCase(), 'responses', String(status), 'content', mediaType, 'schema']
    const escaped = pointer.map(part => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1')))
    const validate = ajv.compile({ $ref: `ipamd#/paths/${escaped.join('/')}` })
    t.ok(validate(JSON.parse(text)), `${each.ask} ${status}: ${ajv.errorsText(validate.errors)}`)
  }
  return `${method} ${path} ${status}`
}

interface Answered {
  readonly status: number
  readonly type: string
  readonly text: string
}

function ask(daemon: TestDaemon, { ask, body, headers, headersOf }: Case): Promise<Answered> {
  const [method, path] = ask.split(' ')
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body)
  const type =
    text === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }
  return new Promise((resolve, reject) => {
    const sent = request(
      { socketPath: daemon.socket, method, path, headers: { ...type, ...headers, ...headersOf?.(daemon) } },
      response => {
        // A stream has no end: its head is what is looked at.
        if (response.headers['content-type'] === 'text/event-stream') {
          resolve({ status: response.statusCode ?? 0, type: 'text/event-stream', text: '' })
          sent.destroy()
          return
        }
        textOf(response).then(
          received =>
            resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', text: received }),
          reject,
        )
      },
    )
    sent.setTimeout(10_000, () => sent.destroy(new Error(`no answer to ${method} ${path}`)))
    sent.on('error', reject)
    sent.end(text)
  })
}

async function textOf(response: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return text
}

/** Enough of a machine for a call that touches none of it. */
function fakeHost(): Pick<CniHost, 'addon' | 'monotonicMs'> {
  const addon: Partial<NativeAddon> = {
    openOwnNetns: () => ({ fd: openSync('/dev/null', 'r'), device: 4n, inode: 2n }),
    watchDeletedLinks: () => () => {},
  }
  return { addon: addon as NativeAddon, monotonicMs: () => 1000 }
}

/** What a launcher says on the machine of fakeHost(). */
function launcherOf(daemon: TestDaemon): Readonly<Record<string, string>> {
  const { dev, ino } = statSync(join(daemon.folder, 'run'), { bigint: true })
  return {
    'env-CNI_COMMAND': 'VERSION',
    'tulle-deadline': '2000',
    'tulle-host-netns': '4:2',
    'tulle-run-folder': `${dev}:${ino}`,
  }
}

async function leaveFallbackNote(daemon: TestDaemon): Promise<void> {
  const failure = noteFallback(daemon.socket, { verb: 'ADD', reason: 'unreachable' })
  if (failure !== undefined) throw new Error(failure)
}

function leaseA(daemon: TestDaemon): Promise<Answered> {
  return ask(daemon, { ask: LEASES, status: 200, body: { attachment: A, pod: POD } })
}

function handOver(daemon: TestDaemon): Promise<Answered> {
  return ask(daemon, { ask: HAND_OVER, status: 200, body: { podCidrs: ['10.1.0.0/24'] } })
}

function reserveForB(daemon: TestDaemon): Promise<Answered> {
  return ask(daemon, { ask: RESERVE, status: 200, body: { address: '10.244.0.9', owner: 'shop/web-1' } })
}

async function releasedA(daemon: TestDaemon): Promise<void> {
  await leaseA(daemon)
  await ask(daemon, { ask: RELEASE, status: 200, body: { attachment: A } })
}

async function useUpPool(daemon: TestDaemon): Promise<void> {
  await leaseA(daemon)
}

/** Another writer holds the store for longer than the daemon waits. */
async function breakStore(daemon: TestDaemon): Promise<void> {
  const { DatabaseSync } = await import('node:sqlite')
  const other = new DatabaseSync(join(daemon.folder, 'state', 'ipam.db'))
  other.exec('BEGIN IMMEDIATE')
  t.teardown(() => other.close())
}

async function leaveOldSpoolEntry(daemon: TestDaemon): Promise<void> {
  const path = join(daemon.folder, 'run', 'spool', spoolFileName(A))
  writeFileSync(path, encodeSpoolEntry({ attachment: A, releasedAtUnixMs: 1 }))
  chmodSync(path, 0o600)
  const leftAt = daemon.nowUnixMs / 1000 - 3600
  utimesSync(path, leftAt, leftAt)
  if (!existsSync(path)) throw new Error('the entry is gone')
}

/** Opens an event stream and resolves when it has begun. */
function follow(daemon: TestDaemon): Promise<void> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: daemon.socket, path: '/v1/events' }, response => {
      response.on('error', () => {})
      response.resume()
      resolve()
    })
    sent.on('error', reject)
    sent.end()
  })
}

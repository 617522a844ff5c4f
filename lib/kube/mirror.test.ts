import t, { type Test } from 'tap'
import { Fields } from '../ipam/fields.ts'
import { backoffMs } from './backoff.ts'
import { FakeApiServer, nodeObject } from '../../e2e/kube/api-server.ts'
import { KubeClient } from './kube-client.ts'
import { Mirror, type Contact } from './mirror.ts'

// A copy of the cluster's nodes that survives everything an API server does, over real HTTP.

const NODES = '/api/v1/nodes'

interface Subject {
  readonly api: FakeApiServer
  readonly mirror: Mirror<string>
  readonly contacts: Contact[]
  /** How often something changed that matters. */
  readonly changes: () => number
  /** The names and values that the mirror holds. */
  readonly holds: () => string
}

/** A mirror of the pod CIDR of each node, which runs until the test ends. Backing off takes no longer than it must. */
async function mirrorOf(t: Test, nodes: readonly string[] = ['a']): Promise<Subject> {
  const api = await FakeApiServer.start()
  for (const [index, name] of nodes.entries()) api.put(node(name, index))
  const client = new KubeClient({ url: new URL(api.url), token: () => 'secret' })
  const contacts: Contact[] = []
  let changes = 0
  const mirror = new Mirror<string>({
    client,
    path: NODES,
    parse: object => Fields.of(object, 'node').object('spec').string('podCIDR'),
    isSame: (a, b) => a === b,
    onChange: () => (changes += 1),
    onContact: contact => contacts.push(contact),
    random: () => 0,
  })
  const stop = new AbortController()
  const running = mirror.run(stop.signal)
  t.teardown(async () => {
    stop.abort()
    await running
    client[Symbol.dispose]()
    await api[Symbol.asyncDispose]()
  })
  const holds = (): string =>
    [...(mirror.snapshot ?? [])]
      .map(entry => entry.join('='))
      .toSorted()
      .join(' ')
  return { api, mirror, contacts, changes: () => changes, holds }
}

function node(name: string, index: number): ReturnType<typeof nodeObject> {
  return nodeObject(name, { podCidrs: [`10.244.${index}.0/24`], ips: [`192.0.2.${index + 1}`] })
}

async function until(what: string, condition: () => boolean, timeoutMs = 20_000): Promise<void> {
  const endsAtMs = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > endsAtMs) throw new Error(`waited in vain until ${what}`)
    await new Promise(resolve => setTimeout(resolve, 5))
  }
}

t.test('Mirror lists in pages and follows the watch', async t => {
  const names = Array.from({ length: 600 }, (_, index) => `n${index}`)
  const api = await mirrorOf(t, names)
  await until('all are there', () => api.mirror.snapshot?.size === 600)
  t.equal(api.api.seen.filter(({ url }) => url.includes('limit=50')).length, 12, 'twelve pages')
  t.equal(api.api.seen[0]?.authorization, 'Bearer secret')
  api.api.delete('n599')
  api.api.put(node('new', 7))
  await until(
    'the watch told of both',
    () => api.mirror.snapshot?.has('new') === true && !api.mirror.snapshot.has('n599'),
  )
  t.equal(api.mirror.snapshot?.get('new'), '10.244.7.0/24')
})

t.test('Mirror is quiet about changes that do not matter', async t => {
  const { api, changes, holds } = await mirrorOf(t)
  await until('it is there', () => holds() !== '' && api.watchers === 1)
  const before = changes()
  api.put({ ...node('a', 0), heartbeat: 1 })
  api.put(node('b', 1))
  await until('the next one came', () => holds().includes('b='))
  t.equal(changes() - before, 1, 'one change: that of b')
})

t.test(
  'Mirror goes on from a bookmark, without a new list, when the server ends the watch or the connection breaks',
  async t => {
    const { api, holds, contacts } = await mirrorOf(t)
    await until('it watches', () => api.watchers === 1)
    api.memory = 1
    api.put(node('b', 1))
    api.put(node('c', 2))
    api.write() // a bookmark
    await until('all are there', () => holds().includes('c='))
    for (const how of ['in order', 'broken'] as const) {
      api.endWatches(how)
      api.put(node(`while ${how}`, 9))
      await until('it knows', () => holds().includes(how))
    }
    t.equal(contacts.filter(({ kind }) => kind === 'listed').length, 1, 'one list')
  },
)

t.test('Mirror lists again after 410, in the stream and as an answer, and forgets what is gone', async t => {
  const { api, holds, contacts } = await mirrorOf(t, ['a', 'b'])
  await until('it watches', () => api.watchers === 1)
  api.endWatches('broken')
  api.delete('b')
  api.forget()
  await until('b is gone', () => holds() === 'a=10.244.0.0/24')
  t.equal(contacts.filter(({ kind }) => kind === 'listed').length, 2)

  api.spoilers.push((_, response) => {
    response.writeHead(410, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ kind: 'Status', code: 410, reason: 'Gone', message: 'old' }))
  })
  await until('it watches again', () => api.watchers === 1)
  api.endWatches('in order')
  await until('it listed a third time', () => contacts.filter(({ kind }) => kind === 'listed').length === 3)
})

t.test(
  'Mirror survives what is no event: half a line, wrong JSON, an object without a name, an endless line',
  async t => {
    const { api, holds, contacts } = await mirrorOf(t)
    const nonsense = [
      '{"type":"ADDED","object":{"metadata":{"na',
      'no JSON\n',
      '{"type":"ADDED","object":{"metadata":{}}}\n',
      '{"type":"STRANGE","object":{}}\n',
      '[1,2]\n',
      'x'.repeat(5 * 1024 * 1024),
    ]
    for (const [index, text] of nonsense.entries()) {
      await until('it watches', () => api.watchers === 1)
      const failed = contacts.filter(({ kind }) => kind === 'failed').length
      api.write(text)
      if (index === 0) api.endWatches('in order')
      await until(
        `${text.slice(0, 20)} was refused`,
        () => contacts.filter(({ kind }) => kind === 'failed').length > failed,
      )
      api.put(node(`after-${index}`, index))
      await until('it is well again', () => holds().includes(`after-${index}=`))
    }
    t.pass('all survived')
  },
)

t.test('Mirror leaves out an object that cannot be read, and keeps the others', async t => {
  const { api, holds, contacts } = await mirrorOf(t)
  await until('it watches', () => api.watchers === 1)
  api.put({ metadata: { name: 'broken' }, spec: { podCIDR: 4 } })
  api.put(node('b', 1))
  await until('b is there', () => holds().includes('b='))
  t.notOk(holds().includes('broken'))
  t.ok(contacts.some(({ kind }) => kind === 'skipped'))
})

t.test('Mirror keeps what it has while the server is away, asks seldom, and catches up', async t => {
  const { api, holds, contacts } = await mirrorOf(t, ['a', 'b'])
  await until('it watches', () => api.watchers === 1)
  await api.goAway()
  await until('it failed twice', () => contacts.filter(({ kind }) => kind === 'failed').length >= 2)
  t.equal(holds(), 'a=10.244.0.0/24 b=10.244.1.0/24')
  api.delete('b')
  api.put(node('c', 2))
  await api.comeBack()
  await until('it caught up', () => holds() === 'a=10.244.0.0/24 c=10.244.2.0/24')
})

t.test('Mirror does not storm a server that ends each watch at once', async t => {
  const { api, contacts } = await mirrorOf(t)
  await until('it watches', () => api.watchers === 1)
  for (let i = 0; i < 50; i++) api.spoilers.push((_, response) => response.writeHead(200).end())
  const from = api.seen.length
  api.endWatches('in order')
  await until('it has failed three times', () => contacts.filter(({ kind }) => kind === 'failed').length >= 4)
  const [first, ...rest] = api.seen.slice(from)
  const last = rest.at(-1)
  t.ok(first !== undefined && last !== undefined && rest.length <= 4, 'few requests')
  t.ok((last?.atMs ?? 0) - (first?.atMs ?? 0) > 500, 'with growing pauses between them')
})

t.test('backoffMs() doubles up to half a minute and spreads over the upper half', t => {
  t.equal(backoffMs(1, 0), 250)
  t.equal(backoffMs(1, 1), 500)
  t.equal(backoffMs(4, 1), 4000)
  t.equal(backoffMs(100, 1), 30_000)
  t.equal(backoffMs(1e9, 0), 15_000)
  t.end()
})

import { createServer } from 'node:http'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { ParseError } from '../net/parse-error.ts'
import { Deadline } from '../time/deadline.ts'
import { FakeApiServer, nodeObject } from '../../e2e/kube/api-server.ts'
import { KubeClient } from './kube-client.ts'
import { KubeError } from './kube-error.ts'
import { LineSplitter } from './line-splitter.ts'
import { inClusterAccess, kubeconfigAccess } from './server-access.ts'

const NODE = '/api/v1/nodes/a'
const soon = (): Deadline => Deadline.in(10_000)

async function serverOf(t: Test): Promise<{ readonly api: FakeApiServer; readonly client: KubeClient }> {
  const api = await FakeApiServer.start()
  api.put(nodeObject('a', { podCidrs: [], ips: [] }))
  const client = new KubeClient({ url: new URL(api.url) })
  t.teardown(async () => {
    client[Symbol.dispose]()
    await api[Symbol.asyncDispose]()
  })
  return { api, client }
}

t.test('ask() returns the object, and says what the server refused', async t => {
  const { client } = await serverOf(t)
  t.match(await client.ask({ method: 'GET', path: NODE }, soon()), { metadata: { name: 'a' } })
  const refused = await client.ask({ method: 'GET', path: '/api/v1/nodes/b' }, soon()).catch((error: unknown) => error)
  t.match(refused, { name: 'KubeError', status: 404, reason: 'NotFound' })
  t.match((refused as Error).message, /^GET \/api\/v1\/nodes\/b: 404 NotFound/)
})

t.test('ask() ends by its deadline when the server is slow, before the answer and within it', async t => {
  const { api, client } = await serverOf(t)
  for (const spoil of ['silence', 'half an answer'] as const) {
    api.spoilers.push((_, response) => {
      if (spoil === 'half an answer') response.writeHead(200).write('{"half')
    })
    const startedAtMs = performance.now()
    await t.rejects(
      client.ask({ method: 'GET', path: NODE }, Deadline.in(200)),
      { name: 'KubeError', status: 0 },
      spoil,
    )
    t.ok(performance.now() - startedAtMs < 5_000, spoil)
  }
})

t.test('ask() refuses what is no JSON, and too much of it', async t => {
  const { api, client } = await serverOf(t)
  api.spoilers.push((_, response) => response.end('<html>'))
  await t.rejects(client.ask({ method: 'GET', path: NODE }, soon()), /the answer is no JSON/)
  api.spoilers.push((_, response) => {
    const chunk = Buffer.alloc(1024 * 1024, 32)
    const more = (): void => {
      while (!response.destroyed && response.write(chunk));
      response.once('drain', more)
    }
    more()
  })
  await t.rejects(client.ask({ method: 'GET', path: NODE }, soon()), /an answer of more than 83886080 bytes/)
})

t.test('ask() fails at once when nobody listens', async t => {
  const server = createServer().listen(0, '127.0.0.1')
  await new Promise(resolve => server.once('listening', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise(resolve => server.close(resolve))
  using client = new KubeClient({ url: new URL(`http://127.0.0.1:${port}`) })
  await t.rejects(client.ask({ method: 'GET', path: NODE }, soon()), /ECONNREFUSED/)
})

t.test('stream() gives up on a connection on which nothing comes', async t => {
  const { api, client } = await serverOf(t)
  const { signal } = new AbortController()
  const query = { watch: '1', resourceVersion: '1' }
  const options = { idleMs: 100, signal, onOpen: () => {}, onLine: () => {} }
  await t.rejects(client.stream({ method: 'GET', path: '/api/v1/nodes', query }, options), /nothing came for 100 ms/)
  t.ok(api.seen.length > 0)
})

t.test('the token is read anew for each request', async t => {
  const { api } = await serverOf(t)
  let token = 'one'
  using client = new KubeClient({ url: new URL(api.url), token: () => token })
  await client.ask({ method: 'GET', path: NODE }, soon())
  token = 'two'
  await client.ask({ method: 'GET', path: NODE }, soon())
  t.strictSame(
    api.seen.map(({ authorization }) => authorization),
    ['Bearer one', 'Bearer two'],
  )
})

t.test('inClusterAccess() takes the server from the environment and the rest from the folder', t => {
  const folder = mkdtempSync(join(tmpdir(), 'tulle-account-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  writeFileSync(join(folder, 'ca.crt'), 'CA')
  writeFileSync(join(folder, 'token'), 'first\n')
  const access = inClusterAccess({ KUBERNETES_SERVICE_HOST: 'fd00::1', KUBERNETES_SERVICE_PORT: '6443' }, folder)
  t.equal(access.url.href, 'https://[fd00::1]:6443/')
  t.equal(access.ca, 'CA')
  t.equal(access.token?.(), 'first')
  writeFileSync(join(folder, 'token'), 'second')
  t.equal(access.token?.(), 'second', 'a token that was replaced')
  t.throws(() => inClusterAccess({}, folder), ParseError)
  t.end()
})

t.test('kubeconfigAccess() reads the current context, and refuses what it cannot do', t => {
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
    clusters: [{ name: 'k', cluster: { server: 'https://api:6443', 'certificate-authority-data': btoa('CA') } }],
    users: [{ name: 'u', user: { 'client-certificate-data': btoa('CERT'), 'client-key-data': btoa('KEY') } }],
  }
  const access = kubeconfigAccess(JSON.stringify(config))
  t.match(access, { ca: 'CA', client: { cert: 'CERT', key: 'KEY' } })
  t.equal(access.url.host, 'api:6443')
  const withToken = kubeconfigAccess(JSON.stringify({ ...config, users: [{ name: 'u', user: { token: 't' } }] }))
  t.equal(withToken.token?.(), 't')
  for (const [what, text] of [
    ['YAML', 'apiVersion: v1'],
    ['no such context', JSON.stringify({ ...config, 'current-context': 'x' })],
    ['a program', JSON.stringify({ ...config, users: [{ name: 'u', user: { exec: {} } }] })],
    ['no server', JSON.stringify({ ...config, clusters: [{ name: 'k', cluster: { server: 'api' } }] })],
  ] as const) {
    t.throws(() => kubeconfigAccess(text), ParseError, what)
  }
  t.end()
})

t.test('LineSplitter puts lines together wherever they were cut', t => {
  const text = 'one\n\ntwo žluť\nthree\n'
  for (let size = 1; size < 12; size++) {
    const splitter = new LineSplitter(64)
    const bytes = Buffer.from(text)
    const lines: string[] = []
    for (let at = 0; at < bytes.length; at += size) lines.push(...splitter.push(bytes.subarray(at, at + size)))
    t.strictSame(lines, ['one', 'two žluť', 'three'], `pieces of ${size} bytes`)
    t.notOk(splitter.hasRest)
  }
  const splitter = new LineSplitter(8)
  t.strictSame(splitter.push(Buffer.from('12345678\n1234')), ['12345678'])
  t.ok(splitter.hasRest)
  t.throws(() => splitter.push(Buffer.from('56789')), RangeError)
  t.end()
})

t.test('KubeError says when everything has to be listed again', t => {
  t.ok(new KubeError('x', { status: 410 }).isExpired)
  t.ok(new KubeError('x', { reason: 'Expired' }).isExpired)
  t.notOk(new KubeError('x', { status: 500 }).isExpired)
  t.end()
})

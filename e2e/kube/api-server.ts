import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** An object as it goes over the wire. */
export interface KubeObject {
  readonly metadata: { readonly name: string; readonly resourceVersion?: string } & Readonly<Record<string, unknown>>
  readonly [key: string]: unknown
}

interface Watcher {
  readonly response: ServerResponse
  readonly path: string
}

interface Change {
  readonly resourceVersion: number
  readonly path: string
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly object: KubeObject
}

/** A request that came, for tests that count them. */
export interface Seen {
  readonly method: string
  readonly url: string
  readonly body: string
  readonly authorization: string | undefined
  readonly atMs: number
}

/** Changes that are remembered for watches; a watch from before them is answered with 410. */
const DEFAULT_MEMORY = 1000
const COLLECTIONS = ['/api/v1/nodes', '/api/v1/namespaces/default/events'] as const

/**
 * The part of a Kubernetes API server that the agent uses, over real HTTP: list in pages, watch with bookmarks and 410, status
 * patches, events. And everything that can go wrong with one.
 */
export class FakeApiServer implements AsyncDisposable {
  /** Every request since the start, or since it was emptied. */
  readonly seen: Seen[] = []
  /** Changes that a new watch may start from. */
  memory = DEFAULT_MEMORY
  /** Answers instead of the real one, once each. */
  readonly spoilers: ((request: IncomingMessage, response: ServerResponse) => void)[] = []
  readonly #address: string
  readonly #objects = new Map<string, Map<string, KubeObject>>(COLLECTIONS.map(path => [path, new Map()]))
  readonly #watchers = new Set<Watcher>()
  #changes: Change[] = []
  #version = 1
  #server: Server | undefined
  #port = 0

  constructor(address = '127.0.0.1') {
    this.#address = address
  }

  static async start(address?: string): Promise<FakeApiServer> {
    const server = new FakeApiServer(address)
    await server.comeBack()
    return server
  }

  get url(): string {
    return `http://${this.#address.includes(':') ? `[${this.#address}]` : this.#address}:${this.#port}`
  }

  get watchers(): number {
    return this.#watchers.size
  }

  /** Stops to listen and drops every connection, as a server that crashed. */
  async goAway(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    this.#watchers.clear()
    if (server === undefined) return
    const closed = new Promise<void>(resolve => server.close(() => resolve()))
    server.closeAllConnections()
    await closed
  }

  /** Listens again, on the port that it had. */
  async comeBack(): Promise<void> {
    const server = createServer((request, response) => void this.#answer(request, response))
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.on('error', reject)
    server.listen(this.#port, this.#address, resolve)
    await promise
    this.#server = server
    this.#port = (server.address() as AddressInfo).port // a TCP server that listens has one
  }

  /** Forgets what changed: every watch that is opened from now on with an older version gets 410. */
  forget(): void {
    this.#changes = []
    this.#version += 1
  }

  get(name: string, path: string = COLLECTIONS[0]): KubeObject | undefined {
    return this.#objects.get(path)?.get(name)
  }

  list(path: string = COLLECTIONS[0]): readonly KubeObject[] {
    return [...(this.#objects.get(path)?.values() ?? [])]
  }

  put(object: KubeObject, path: string = COLLECTIONS[0]): void {
    const collection = this.#objects.get(path)
    if (collection === undefined) throw new Error(`no collection ${path}`)
    const { name } = object.metadata
    const type = collection.has(name) ? 'MODIFIED' : 'ADDED'
    this.#version += 1
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } }
    collection.set(name, stored)
    this.#tell({ resourceVersion: this.#version, path, type, object: stored })
  }

  delete(name: string, path: string = COLLECTIONS[0]): void {
    const object = this.get(name, path)
    if (object === undefined) return
    this.#objects.get(path)?.delete(name)
    this.#version += 1
    const gone = { ...object, metadata: { ...object.metadata, resourceVersion: String(this.#version) } }
    this.#tell({ resourceVersion: this.#version, path, type: 'DELETED', object: gone })
  }

  /** Writes to every watch: a bookmark of the newest version, or whatever a broken server would. */
  write(text?: string): void {
    const metadata = { resourceVersion: String(this.#version) }
    const bookmark = `${JSON.stringify({ type: 'BOOKMARK', object: { kind: 'Node', metadata } })}\n`
    for (const { response } of this.#watchers) response.write(text ?? bookmark)
  }

  /** Ends every watch in order, as at its time-out; or breaks their connections. */
  endWatches(how: 'in order' | 'broken'): void {
    for (const watcher of this.#watchers) {
      if (how === 'in order') watcher.response.end()
      else watcher.response.socket?.destroy()
      this.#watchers.delete(watcher)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.goAway()
  }

  #tell(change: Change): void {
    this.#changes.push(change)
    if (this.#changes.length > this.memory) this.#changes = this.#changes.slice(-this.memory)
    for (const watcher of this.#watchers) if (watcher.path === change.path) writeChange(watcher.response, change)
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request)
    const { method = '', url = '/' } = request
    this.seen.push({ method, url, body, authorization: request.headers.authorization, atMs: performance.now() })
    const spoil = this.spoilers.shift()
    if (spoil !== undefined) return spoil(request, response)
    const { pathname, searchParams } = new URL(url, 'http://api')
    if (method === 'PATCH') return this.#patchStatus(pathname, { body, response })
    if (method === 'POST') return this.#create(pathname, { body, response })
    const collection = this.#objects.get(pathname)
    if (collection === undefined) return this.#one(pathname, response)
    if (searchParams.has('watch')) return this.#watch(pathname, { searchParams, response })
    return this.#page(collection, { searchParams, response })
  }

  #page(collection: ReadonlyMap<string, KubeObject>, { searchParams, response }: Query): void {
    const limit = Number(searchParams.get('limit') ?? collection.size)
    const from = Number(searchParams.get('continue') ?? 0)
    const items = [...collection.values()].slice(from, from + limit)
    const rest = from + limit < collection.size ? { continue: String(from + limit) } : {}
    reply(response, 200, { kind: 'List', metadata: { resourceVersion: String(this.#version), ...rest }, items })
  }

  #watch(path: string, { searchParams, response }: Query): void {
    const from = Number(searchParams.get('resourceVersion') ?? 0)
    const oldest = this.#changes[0]?.resourceVersion ?? this.#version + 1
    response.writeHead(200, { 'content-type': 'application/json' })
    response.flushHeaders()
    if (from < oldest - 1) {
      const object = { kind: 'Status', code: 410, reason: 'Expired', message: 'too old resource version' }
      response.end(`${JSON.stringify({ type: 'ERROR', object })}\n`)
      return
    }
    const watcher = { response, path }
    this.#watchers.add(watcher)
    response.on('close', () => this.#watchers.delete(watcher))
    for (const change of this.#changes) {
      if (change.resourceVersion > from && change.path === path) writeChange(response, change)
    }
    const timeoutMs = Number(searchParams.get('timeoutSeconds') ?? 300) * 1000
    const timer = setTimeout(() => response.end(), timeoutMs)
    timer.unref()
    response.on('close', () => clearTimeout(timer))
  }

  #one(path: string, response: ServerResponse): void {
    const found = this.#find(path)
    if (found === undefined) return reply(response, 404, { kind: 'Status', reason: 'NotFound', message: path })
    reply(response, 200, found.object)
  }

  #patchStatus(path: string, { body, response }: Sent): void {
    const found = this.#find(path.replace(/\/status$/, ''))
    if (found === undefined || !path.endsWith('/status')) return reply(response, 404, { reason: 'NotFound' })
    const patch = JSON.parse(body) as { status: { conditions: readonly { type: string }[] } }
    const status = (found.object['status'] ?? {}) as { conditions?: readonly { type: string }[] }
    const changed = new Set(patch.status.conditions.map(({ type }) => type))
    const kept = (status.conditions ?? []).filter(({ type }) => !changed.has(type))
    this.put(
      { ...found.object, status: { ...status, conditions: [...kept, ...patch.status.conditions] } },
      found.collection,
    )
    reply(response, 200, this.get(found.object.metadata.name, found.collection) ?? {})
  }

  #create(path: string, { body, response }: Sent): void {
    this.put(JSON.parse(body) as KubeObject, path)
    reply(response, 201, JSON.parse(body) as object)
  }

  #find(path: string): { readonly collection: string; readonly object: KubeObject } | undefined {
    const collection = path.slice(0, path.lastIndexOf('/'))
    const object = this.get(decodeURIComponent(path.slice(path.lastIndexOf('/') + 1)), collection)
    return object && { collection, object }
  }
}

interface Query {
  readonly searchParams: URLSearchParams
  readonly response: ServerResponse
}

interface Sent {
  readonly body: string
  readonly response: ServerResponse
}

function writeChange(response: ServerResponse, { type, object }: Change): void {
  response.write(`${JSON.stringify({ type, object })}\n`)
}

function reply(response: ServerResponse, status: number, document: object): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(document))
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

/** A Node object, as the cluster would make it. */
export function nodeObject(
  name: string,
  node: { readonly podCidrs: readonly string[]; readonly ips: readonly string[]; readonly createdAt?: string },
): KubeObject {
  const { podCidrs, ips, createdAt = '2026-01-01T00:00:00Z' } = node
  return {
    kind: 'Node',
    metadata: { name, uid: `uid-${name}`, creationTimestamp: createdAt },
    spec: podCidrs.length === 0 ? {} : { podCIDR: podCidrs[0], podCIDRs: podCidrs },
    status: {
      addresses: [...ips.map(address => ({ type: 'InternalIP', address })), { type: 'Hostname', address: name }],
    },
  }
}

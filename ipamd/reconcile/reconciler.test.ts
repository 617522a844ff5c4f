import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import t, { type Test } from 'tap'
import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import { FakeKernel } from '../../lib/kernel/fake-kernel.ts'
import { FakeNetns } from '../../lib/kernel/fake-netns.ts'
import { formatAddress } from '../../lib/net/address.ts'
import { formatPrefix, hostPrefix, parsePrefix, type Prefix } from '../../lib/net/prefix.ts'
import { hostIfNameOf, macOf } from '../../lib/plan/link-names.ts'
import { LINK_GROUP, ROUTE_PROTOCOL } from '../../lib/plan/marks.ts'
import { formatOwner } from '../../lib/plan/owner.ts'
import { DeadlineExceeded } from '../../lib/time/deadline.ts'
import { parseConfig } from '../config.ts'
import { LeaseService } from '../lease-service.ts'
import { jsonLog } from '../../lib/log/json-log.ts'
import type { BootFacts } from '../store/boot-facts.ts'
import type { Via } from '../store/lease-origin.ts'
import { readOrigin } from '../store/read-origins.ts'
import { StoreReader } from '../store/store-reader.ts'
import { SqliteStore } from '../store/store.ts'
import { Reconciler } from './reconciler.ts'
import { storeView } from './store-view.ts'

const GRACE_MS = 1000
const BLOCK = parsePrefix('10.0.0.0/24')

/** A node in memory, with a real store. */
class Node implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'reconciler-'))
  readonly log: string[] = []
  readonly locked = new Set<string>()
  readonly busyNames = new Set<string>()
  readonly liveInodes = new Set<number>()
  boot: BootFacts = { bootId: 'b1', initStartTicks: 1, hostNetnsInode: 1 }
  netns = new FakeNetns()
  nowMs = 0
  /** Runs before the last look at a link. */
  beforeLastLook: () => Promise<unknown> = async () => {}
  #store!: SqliteStore
  #reader!: StoreReader
  service!: LeaseService
  reconciler!: Reconciler

  constructor() {
    this.#start()
  }

  /** Starts the daemon again. The next node is another kernel, or another namespace of the same one. */
  restart(boot: Partial<BootFacts> = {}): void {
    if (Object.keys(boot).length > 0) this.netns = new FakeNetns()
    this.boot = { ...this.boot, ...boot }
    this.#stop()
    this.#start()
  }

  async lease(id: string, via?: Via): Promise<void> {
    await this.service.allocate({ attachment: attachmentOf(id), via, hostNetnsInode: this.boot.hostNetnsInode })
  }

  /** With a finished ADD's alias; null is none. */
  addLink(id: string, alias: string | null = formatOwner({ attachment: attachmentOf(id), isComplete: true })): void {
    const attachment = attachmentOf(id)
    const options = { name: hostIfNameOf(attachment), mac: macOf(attachment, 'host'), mtuBytes: 1500 }
    const link = this.netns.addLink({ ...options, kind: 'veth', group: LINK_GROUP })
    if (typeof link === 'string') throw new Error(link)
    if (alias !== null) link.alias = alias
  }

  removeLink(id: string): void {
    const link = this.netns.link(hostIfNameOf(attachmentOf(id)))
    if (link !== undefined) this.netns.deleteLink(link)
  }

  async holders(): Promise<readonly string[]> {
    return (await this.service.find({})).map(({ attachment }) => attachment.containerId)
  }

  /** Two turns, with the grace between them. @returns What the second one did. */
  async twoTurns(): ReturnType<Reconciler['run']> {
    await this.reconciler.run({ dryRun: false })
    this.nowMs += GRACE_MS
    return this.reconciler.run({ dryRun: false })
  }

  get reasons(): readonly unknown[] {
    return this.#reader.query("SELECT reason, detail FROM event WHERE kind = 'released' ORDER BY id", {
      parameters: [],
      read: rows => Array.from(rows, row => `${String(row['reason'])} ${String(row['detail'])}`),
    })
  }

  #start(): void {
    const path = join(this.#folder, 'ipam.db')
    this.#store = new SqliteStore(path, this.boot)
    this.#reader = new StoreReader(path)
    const reader = this.#reader
    const config = {
      socket: '/x',
      stateDir: '/y',
      pools: [{ name: 'p', prefixes: [formatPrefix(BLOCK)], cooldownSeconds: 0 }],
    }
    this.service = new LeaseService(parseConfig(JSON.stringify(config), 'n').pools, {
      store: this.#store,
      nowUnixMs: () => this.nowMs,
      uptimeMs: () => this.nowMs,
      onBlockTaken: async () => {},
      onBlockReturned: async () => {},
      origins: { boot: this.boot, read: attachment => readOrigin(reader, attachment) },
    })
    this.reconciler = new Reconciler(
      { graceMs: GRACE_MS },
      {
        service: this.service,
        store: storeView(this.#reader),
        boot: this.boot,
        onBlockTaken: async block => this.#addRefusal(block),
        onBlockReturned: async () => {},
        uptimeMs: () => this.nowMs,
        log: jsonLog(line => this.log.push(line)),
        node: {
          openKernel: () => this.#openKernel(),
          lock: async attachment => {
            const key = attachmentKeyText(attachment)
            if (this.locked.has(key)) throw new DeadlineExceeded(`waiting for the lock of ${key}`)
            return { [Symbol.dispose]: () => {} }
          },
          isBusy: name => this.busyNames.has(name),
          isNetnsAlive: inode => this.liveInodes.has(inode),
        },
      },
    )
  }

  #openKernel(): FakeKernel {
    const kernel = new FakeKernel({ host: this.netns })
    const look = kernel.observeLink.bind(kernel)
    kernel.observeLink = async (...at) => {
      await this.beforeLastLook()
      return look(...at)
    }
    return kernel
  }

  #addRefusal(block: Prefix): void {
    this.netns.addRoute({ to: block, protocol: ROUTE_PROTOCOL })
  }

  #stop(): void {
    this.service.flush()
    this.#reader.close()
    this.#store.close()
  }

  [Symbol.dispose](): void {
    this.#stop()
    rmSync(this.#folder, { recursive: true })
  }
}

function attachmentOf(containerId: string): AttachmentKey {
  return { network: 'pods', containerId, ifName: 'eth0' }
}

function idsOf(stale: readonly { readonly attachment: AttachmentKey }[]): readonly string[] {
  return stale.map(({ attachment }) => attachment.containerId)
}

function nodeOf(t: Test): Node {
  const node = new Node()
  t.teardown(() => node[Symbol.dispose]())
  return node
}

t.test(
  'run() frees a lease of tulle without an interface after the grace, not before, and records why (R2, R6)',
  async t => {
    const node = nodeOf(t)
    await node.lease('gone', 'tulle')
    await node.lease('other', 'tulle-ipam')
    await node.lease('alive', 'tulle')
    node.addLink('alive')
    const first = await node.reconciler.run({ dryRun: false })
    t.same([idsOf(first.freed), idsOf(first.watched)], [[], ['gone']])
    node.nowMs += GRACE_MS - 1
    t.same((await node.reconciler.run({ dryRun: false })).freed, [])
    node.nowMs += 1
    const last = await node.reconciler.run({ dryRun: false })
    t.same(idsOf(last.freed), ['gone'])
    t.same(await node.holders(), ['other', 'alive'])
    t.match(node.reasons, [/^reconcile no-interface: no interface for 1 s; leased in boot b1, network namespace 1$/])
  },
)

t.test('run() frees every lease of an older boot that no interface carries (R1)', async t => {
  const node = nodeOf(t)
  for (const [id, via] of [
    ['a', 'tulle'],
    ['b', 'tulle-ipam'],
    ['c', undefined],
  ] as const)
    await node.lease(id, via)
  node.restart({ bootId: 'b2', hostNetnsInode: 2 })
  await node.lease('new', 'tulle')
  node.addLink('new')
  t.same(idsOf((await node.twoTurns()).freed), ['a', 'b', 'c'])
  t.same(await node.holders(), ['new'])
})

t.test(
  'run() frees the leases of a node namespace that is gone, and none while something lives in it (R1, R6)',
  async t => {
    const node = nodeOf(t)
    await node.lease('a', 'tulle')
    node.liveInodes.add(1)
    node.restart({ hostNetnsInode: 2 })
    t.same((await node.twoTurns()).freed, [])
    node.liveInodes.clear()
    t.same(
      (await node.twoTurns()).freed.map(({ reason }) => reason),
      ['netns-gone'],
    )
  },
)

t.test('allocate() makes a lease of an older boot one of this boot (R6)', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle-ipam')
  node.restart({ bootId: 'b2' })
  await node.reconciler.run({ dryRun: false })
  await node.lease('a', 'tulle-ipam')
  node.nowMs += GRACE_MS
  t.same((await node.reconciler.run({ dryRun: false })).watched, [])
  // Durable, too.
  node.restart()
  t.same((await node.twoTurns()).freed, [])
})

t.test(
  'allocate() keeps what another plugin asks for again from being freed for want of an interface (R6)',
  async t => {
    const node = nodeOf(t)
    await node.lease('a', 'tulle')
    await node.lease('a', 'tulle-ipam')
    t.same((await node.twoTurns()).freed, [])
  },
)

t.test(
  'run() frees nothing of a plugin in another network namespace, whose interfaces are out of sight (R6)',
  async t => {
    const node = nodeOf(t)
    await node.service.allocate({ attachment: attachmentOf('a'), via: 'tulle', hostNetnsInode: 77 })
    t.same((await node.twoTurns()).freed, [])
  },
)

const revalidations: readonly { readonly name: string; readonly change: (node: Node) => Promise<unknown> }[] = [
  { name: 'an ADD made the interface', change: async node => node.addLink('a') },
  { name: 'an ADD asked for the lease again', change: node => node.lease('a', 'tulle-ipam') },
  { name: 'an ADD of the same plugin asked for the lease again', change: node => node.lease('a', 'tulle') },
  {
    name: 'DEL and ADD made another lease of it',
    change: async node => {
      await node.service.release({ attachment: attachmentOf('a') }, 'del')
      await node.lease('a', 'tulle')
    },
  },
]
for (const { name, change } of revalidations) {
  t.test(`run() keeps a lease when, before the last look, ${name} (R6)`, async t => {
    const node = nodeOf(t)
    await node.lease('a', 'tulle')
    node.beforeLastLook = async () => {
      node.beforeLastLook = async () => {}
      await change(node)
    }
    t.same((await node.twoTurns()).freed, [])
    t.same(await node.holders(), ['a'])
  })
}

t.test('run() keeps every lease when the container of the daemon gets another network namespace (R6)', async t => {
  const node = nodeOf(t)
  for (const via of ['tulle', 'tulle-ipam'] as const) {
    await node.service.allocate({ attachment: attachmentOf(via), via, hostNetnsInode: 77 })
  }
  node.restart({ hostNetnsInode: 2 })
  t.match(await node.twoTurns(), { freed: [], watched: [] })
  t.same((await node.holders()).length, 2)
})

t.test('run() keeps a lease while somebody holds the lock of its attachment, and says nothing (R6)', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle')
  node.locked.add(attachmentKeyText(attachmentOf('a')))
  const held = await node.twoTurns()
  t.same([idsOf(held.freed), idsOf(held.watched)], [[], ['a']])
  t.same(node.log, [])
  node.locked.clear()
  t.same(idsOf((await node.reconciler.run({ dryRun: false })).freed), ['a'])
})

t.test('run() changes nothing in a dry run, which is no observation either', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle')
  await node.reconciler.run({ dryRun: true })
  node.nowMs += GRACE_MS
  t.same((await node.reconciler.run({ dryRun: true })).freed, [])
  await node.twoTurns()
  t.same(await node.holders(), [])
  await node.lease('b', 'tulle')
  node.addLink('c', null)
  await node.reconciler.run({ dryRun: false })
  node.nowMs += GRACE_MS
  node.netns.routes = []
  const dry = await node.reconciler.run({ dryRun: true })
  t.same([idsOf(dry.freed), dry.removedLinks.length, dry.repairedBlocks], [['b'], 1, ['10.0.0.0/24']])
  t.same(await node.holders(), ['b'])
  t.ok(node.netns.link(hostIfNameOf(attachmentOf('c'))))
  t.same(node.netns.routes, [])
})

t.test('run() removes what a killed ADD left, when nobody works on it, and no finished interface (R2)', async t => {
  const node = nodeOf(t)
  for (const id of ['adding', 'locked'])
    node.addLink(id, formatOwner({ attachment: attachmentOf(id), isComplete: false }))
  for (const id of ['bare', 'busy']) node.addLink(id, null)
  node.addLink('orphan')
  node.addLink('edited', 'somebody wrote this')
  node.locked.add(attachmentKeyText(attachmentOf('locked')))
  node.busyNames.add(hostIfNameOf(attachmentOf('busy')))
  await node.reconciler.run({ dryRun: false })
  t.equal(node.netns.links.length, 7, 'nothing at the first look')
  node.nowMs += GRACE_MS
  const { removedLinks } = await node.reconciler.run({ dryRun: false })
  t.same(
    removedLinks,
    ['adding', 'bare'].map(id => hostIfNameOf(attachmentOf(id))),
  )
  t.equal(node.netns.links.length, 5)
})

t.test('run() adds the route of a block that somebody flushed (R18, R29)', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle-ipam')
  t.same((await node.reconciler.run({ dryRun: false })).repairedBlocks, ['10.0.0.0/24'])
  t.same(
    node.reconciler.findings.map(({ kind }) => kind),
    ['block-without-route'],
  )
  t.same((await node.reconciler.run({ dryRun: false })).repairedBlocks, [])
  t.same(node.reconciler.findings, [])
})

t.test('run() changes nothing when the kernel cannot be asked, and goes on at the next turn', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle')
  await node.reconciler.run({ dryRun: false })
  node.nowMs += GRACE_MS
  const { netns } = node
  node.netns = new Proxy(netns, {
    get(target, key): unknown {
      if (key === 'links') throw new Error('no answer')
      return Reflect.get(target, key) as unknown
    },
  })
  await t.rejects(node.reconciler.run({ dryRun: false }), /no answer/)
  t.same(await node.holders(), ['a'])
  node.netns = netns
  t.same(idsOf((await node.reconciler.run({ dryRun: false })).freed), ['a'])
})

t.test('check() reports leases without interfaces and interfaces without leases, seen twice', async t => {
  const node = nodeOf(t)
  await node.lease('a', 'tulle')
  node.addLink('b')
  const link = node.netns.link(hostIfNameOf(attachmentOf('b')))
  const [held] = (await node.service.find({}))[0]?.addresses ?? []
  if (link === undefined || held === undefined) throw new Error('no link or lease')
  link.isUp = true
  node.netns.addRoute({ to: hostPrefix(held.address), protocol: ROUTE_PROTOCOL, link })
  node.netns.addRoute({ to: BLOCK, protocol: ROUTE_PROTOCOL })
  const { findings } = await node.reconciler.check()
  t.same(
    findings.map(({ kind }) => kind),
    ['lease-without-link', 'link-without-lease', 'route-differs'],
  )
  t.match(findings[2]?.detail, new RegExp(formatAddress(held.address)))
  t.same(await node.holders(), ['a'], 'nothing was changed')
})

type Step =
  | { readonly do: 'add'; readonly id: string; readonly via: Via; readonly isKilled: boolean }
  | { readonly do: 'del' | 'lose'; readonly id: string }
  | { readonly do: 'turn' | 'restart' | 'reboot' | 'renew-netns' }

const id = fc.constantFrom('a', 'b', 'c', 'd')
const steps = fc.array(
  fc.tuple(
    fc.nat(GRACE_MS),
    fc.oneof(
      {
        weight: 4,
        arbitrary: fc.record({
          do: fc.constant('add' as const),
          id,
          via: fc.constantFrom<Via>('tulle', 'tulle-ipam'),
          isKilled: fc.boolean(),
        }),
      },
      { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('del' as const, 'lose' as const), id }) },
      {
        weight: 5,
        arbitrary: fc.record({
          do: fc.constantFrom(
            'turn' as const,
            'turn' as const,
            'restart' as const,
            'reboot' as const,
            'renew-netns' as const,
          ),
        }),
      },
    ),
  ),
  { maxLength: 40 },
)

/** Applies a step to the node, and to the set of pods that live. */
async function perform(node: Node, alive: Map<string, Via>, step: Step): Promise<void> {
  switch (step.do) {
    case 'add':
      if (alive.has(step.id)) return
      node.removeLink(step.id)
      await node.lease(step.id, step.via)
      if (step.isKilled) return
      if (step.via === 'tulle') node.addLink(step.id)
      return void alive.set(step.id, step.via)
    case 'del':
      node.removeLink(step.id)
      alive.delete(step.id)
      return void (await node.service.release({ attachment: attachmentOf(step.id) }, 'del'))
    case 'lose':
      // The pod and its interface go, and nobody calls DEL.
      if (alive.get(step.id) === 'tulle') node.removeLink(step.id)
      return void alive.delete(step.id)
    case 'restart':
      return node.restart()
    case 'reboot':
      alive.clear()
      return node.restart({ bootId: `${node.boot.bootId}+`, hostNetnsInode: node.boot.hostNetnsInode + 1 })
    case 'renew-netns':
      alive.clear()
      return node.restart({ hostNetnsInode: node.boot.hostNetnsInode + 1 })
    case 'turn':
      return void (await node.reconciler.run({ dryRun: false }))
  }
}

t.test(
  'run() never frees the lease of a living pod, and frees in the end what it can know to be dead (R1, R2, R6)',
  async () => {
    await fc.assert(
      fc.asyncProperty(steps, async list => {
        using node = new Node()
        const alive = new Map<string, Via>()
        for (const [afterMs, step] of list) {
          node.nowMs += afterMs
          await perform(node, alive, step)
          const holders = await node.holders()
          for (const each of alive.keys())
            if (!holders.includes(each)) throw new Error(`${each} lives and lost its lease`)
        }
        await node.twoTurns()
        node.restart({ bootId: 'last', hostNetnsInode: 999 })
        await node.twoTurns()
        const left = await node.holders()
        if (left.length > 0) throw new Error(`after a reboot ${left.join()} still hold leases`)
      }),
      { numRuns: 60 },
    )
  },
)

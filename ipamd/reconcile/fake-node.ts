import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { attachmentKeyText, type AttachmentKey } from '../../lib/ipam/attachment.ts'
import { FakeKernel } from '../../lib/kernel/fake-kernel.ts'
import { FakeNetns } from '../../lib/kernel/fake-netns.ts'
import { formatPrefix, parsePrefix, type Prefix } from '../../lib/net/prefix.ts'
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

export const GRACE_MS = 1000
export const BLOCK = parsePrefix('10.0.0.0/24')

/** A node in memory, with a real store. */
export class Node implements Disposable {
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
    return (await this.service.find({})).map(({ attachment }) => attachment.containerId).toSorted()
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

export function attachmentOf(containerId: string): AttachmentKey {
  return { network: 'pods', containerId, ifName: 'eth0' }
}

export function idsOf(stale: readonly { readonly attachment: AttachmentKey }[]): readonly string[] {
  return stale.map(({ attachment }) => attachment.containerId)
}

export function nodeOf(t: Test): Node {
  const node = new Node()
  t.teardown(() => node[Symbol.dispose]())
  return node
}

import { statSync } from 'node:fs'
import type { Server } from 'node:http'
import { dirname, join } from 'node:path'
import type { GrantReply, GrantRequest } from '../lib/ipam/grants.ts'
import { SPOOL_DIR_NAME } from '../lib/ipam/spool-entry.ts'
import { containsPrefix, type Prefix } from '../lib/net/prefix.ts'
import type { HostRange } from '../lib/plan/host-range.ts'
import { IpamClient } from '../lib/os/ipam-client.ts'
import { Deadline } from '../lib/time/deadline.ts'
import { retryUntil } from '../lib/time/retry-until.ts'
import type { NativeAddon } from '../native/addon.ts'
import { Condition } from './api/condition.ts'
import { EventStreams } from './api/event-streams.ts'
import { Metrics } from './api/metrics.ts'
import { createApi } from './api/server.ts'
import { WatchedStore } from './api/watched-store.ts'
import { CniServer, type CniCounters } from './cni/cni-server.ts'
import { leaseEdge } from './cni/lease-edge.ts'
import type { IpamdConfig } from './config.ts'
import { Fallbacks } from './fallbacks.ts'
import { preparePrivateFolder } from './folders.ts'
import { keepHouse } from './housekeeping.ts'
import { LeaseService, type LeaseServiceEdges } from './lease-service.ts'
import { LockHeld, takeLock } from './lock-file.ts'
import type { Log } from '../lib/log/json-log.ts'
import { listenOnInherited, listenOnSocket } from './socket-file.ts'
import type { NodeEdges } from './reconcile/node-edges.ts'
import { reconcileNowAndThen } from './reconcile/reconcile-now-and-then.ts'
import { Reconciler } from './reconcile/reconciler.ts'
import { storeView } from './reconcile/store-view.ts'
import type { Kernel } from '../lib/plan/kernel.ts'
import { repairNowAndThen } from './nftables/repair-now-and-then.ts'
import { Repairer, type RepairEdges } from './nftables/repairer.ts'
import { Spool } from './spool.ts'
import type { BootFacts } from './store/boot-facts.ts'
import { readOrigin } from './store/read-origins.ts'
import { StoreReader } from './store/store-reader.ts'
import type { LeaseMark } from './store/lease-mark.ts'
import { restoreStore } from './store/restore-store.ts'
import { SqliteStore } from './store/store.ts'
import { Tally } from './tally.ts'

/** What the daemon needs of the machine. */
export interface DaemonEdges {
  readonly log: Log
  readonly pid: number
  readonly uid: number
  /** The wall clock, in unix milliseconds. */
  readonly nowUnixMs: () => number
  /** Since the machine booted, on a clock that nobody sets, in milliseconds. */
  readonly uptimeMs: () => number
  readonly boot: BootFacts
  /** flock(2), exclusive, not waiting. */
  readonly tryLock: (fd: number) => boolean
  /** SO_PEERCRED of a connected Unix socket. */
  readonly peerCredentials: (fd: number) => { readonly uid: number }
  /**
   * Called for each block that the node has: at start, before anything is answered, and when a block is taken, before the
   * first address of it is answered. It must be idempotent and keep the deadline. When it rejects, nothing is answered.
   */
  readonly onBlockTaken: (block: Prefix, by: Deadline) => Promise<void>
  /** Which attachments have addresses as the kernel sees it: what a lost store is made from. */
  readonly readMarks: (by: Deadline) => Promise<readonly LeaseMark[]>
  /** Which blocks the node had, as the kernel sees it. Absent: nobody looks. */
  readonly readBlockMarks?: (by: Deadline) => Promise<readonly Prefix[]>
  /**
   * Called after a block was given back, and again when it rejects. It must be idempotent and keep the deadline. The block is
   * not announced again before it has ended.
   */
  readonly onBlockReturned: (block: Prefix, by: Deadline) => Promise<void>
  /** What the node itself uses. Absent: nobody looks. @throws {KernelError} */
  readonly readHostRanges?: (by: Deadline) => Promise<readonly HostRange[]>
  /** What stale leases are looked for in. Absent: nobody looks, and no lease is freed unasked. */
  readonly node?: NodeEdges
  /** What ADD has kept of pods with ports or masquerade. Absent: nobody repairs our nftables table. */
  readonly exposures?: Pick<RepairEdges, 'readExposures' | 'dropExposure'>
  /** What calls of the CNI plugin are done with. Absent: the plugin does them itself. */
  readonly cni?: CniHost
  /** Gives back memory that was freed: what a start or a crowd of requests needed is not needed from then on. */
  readonly trimMemory?: () => void
  /** A Unix socket that already listens, from systemd: it is used in place of a new one, and stays when the daemon stops. */
  readonly inheritedSocket?: number | undefined
  /** How long another ipamd, which has our folders, may take to end. Absent: it is not waited for. */
  readonly waitMs?: number
}

/** What of the machine is needed to do the plugin's work. */
export interface CniHost {
  readonly addon: NativeAddon
  /** The socket beside which all hosts of the engine keep their locks. */
  readonly lockSocketPath: string
  /** The monotonic clock that all processes of the machine share, in milliseconds. */
  readonly monotonicMs: () => number
}

/** A daemon that listens. */
export interface Daemon {
  /** Stops to accept, lets the requests that are running end, moves the store into its main file, and removes the socket. */
  close(): Promise<void>
}

/** For the kernel to name its links and routes when the store is lost. It may have much to do then, and nobody else can start it. */
const RESTORE_TIMEOUT_MS = 30_000
const REPLAY_INTERVAL_MS = 30_000
const HOUSEKEEPING_INTERVAL_MS = 10_000
/** Between two looks whether the one before has ended: calls wait meanwhile. */
const LOCK_PAUSE_MS = 20
/** How long requests that are running may take when the daemon stops. */
const DRAIN_MS = 600
/** And how long those may take whose callers were cut off then. */
const SETTLE_MS = 200

/**
 * Starts the daemon: locks its folders, opens the store, replays the spool, listens.
 *
 * @throws {Error} that says what is in the way. Nothing is left open then.
 */
export async function start(config: IpamdConfig, edges: DaemonEdges): Promise<Daemon> {
  await using opened = new AsyncDisposableStack()
  const { socketPath, stateDir } = config
  const { log, pid, tryLock } = edges
  const spoolFolder = join(dirname(socketPath), SPOOL_DIR_NAME)
  for (const folder of [stateDir, dirname(socketPath), spoolFolder]) preparePrivateFolder(folder, edges.uid)

  const inTurn = { by: Deadline.in(edges.waitMs ?? 0), everyMs: LOCK_PAUSE_MS, isPassing: isLockHeld }
  const lock = (path: string, what: string) => retryUntil(() => takeLock(path, { what, pid, tryLock }), inTurn)
  const stateLock = await lock(join(stateDir, 'lock'), `state folder ${stateDir}`)
  opened.defer(() => stateLock.release())
  const socketLock = await lock(`${socketPath}.lock`, `socket ${socketPath}`)
  opened.defer(() => socketLock.release())
  const storePath = join(stateDir, 'ipam.db')
  await restoreStore(storePath, { pools: config.pools, edges, by: Deadline.in(RESTORE_TIMEOUT_MS) })
  const durable = new SqliteStore(storePath, edges.boot)
  opened.defer(() => durable.close())
  const reader = new StoreReader(storePath)
  opened.defer(() => reader.close())
  const metrics = new Metrics()
  const streams = new EventStreams(reader, { metrics, log })
  const store = new WatchedStore(durable, { metrics, uptimeMs: edges.uptimeMs, onCommit: () => streams.announce() })

  const service = new LeaseService(config.pools, {
    store,
    nowUnixMs: edges.nowUnixMs,
    uptimeMs: edges.uptimeMs,
    onBlockTaken: edges.onBlockTaken,
    onBlockReturned: edges.onBlockReturned,
    ...foreignRanges(config, edges),
    upstream: { node: config.nodeName, instance: instanceOf(stateDir), ask: askUpstream },
    origins: { boot: edges.boot, read: attachment => readOrigin(reader, attachment) },
  })
  // What waits for a commit gets it before the store is closed.
  opened.defer(() => service.flush())
  await service.refuseOverlaps()
  await service.announceBlocks()
  const spool = new Spool(spoolFolder, { service, log, nowUnixMs: edges.nowUnixMs })
  // What it can't do now stays, and must not keep the daemon from serving: a lease is safe from its own entry in any case.
  await replay(spool, log)
  const fallbacks = new Fallbacks(spoolFolder, {
    log,
    nowUnixMs: edges.nowUnixMs,
    count: (fallback, by) => metrics.countFallback(fallback, by),
  })
  const housekeeping = { history: config.history, log, trimMemory: edges.trimMemory }
  await keepHouse(service, housekeeping)

  const peers = { peerCredentials: edges.peerCredentials, ownUid: edges.uid }
  const condition = new Condition({ store, storePath, spoolFolder, nowUnixMs: edges.nowUnixMs })
  const [repairs, declined] = [new Tally(edges.nowUnixMs), new Tally(edges.nowUnixMs)]
  const repairer = repairerOf({ config, edges, metrics, reader, repairs })
  const reconciler = edges.node && reconcilerOf({ service, reader, node: edges.node, repairer }, { config, edges })
  const cni = edges.cni && cniServerOf(edges.cni, { config, edges, service, spool, metrics, declined })
  if (cni !== undefined) opened.defer(() => within(SETTLE_MS, cni.close()))
  const subjects = {
    service,
    spool,
    reader,
    metrics,
    streams,
    condition,
    reconciler,
    cni,
    fallbacks,
    declined,
    repairs,
  }
  const server = createApi(subjects, { peers, log })
  opened.defer(() => stopServing(server))
  opened.defer(() => cni?.drain())
  opened.defer(() => streams.close())
  if (edges.inheritedSocket === undefined) await listenOnSocket(server, socketPath)
  else await listenOnInherited(server, { fd: edges.inheritedSocket, path: socketPath })
  // A connection that can't be accepted is its caller's loss, not the end of the daemon.
  server.on('error', cause => log.error('accepting a connection failed', { error: cause }))
  if (reconciler !== undefined) {
    const reconciling = reconcileNowAndThen(reconciler, { intervalMs: config.reconcile.intervalMs, log })
    opened.defer(() => reconciling.stop())
  }
  if (repairer !== undefined) {
    const repairing = repairNowAndThen(repairer, { log })
    opened.defer(() => repairing.stop())
  }
  collect(fallbacks, log)
  const timer = setInterval(() => {
    void replay(spool, log)
    collect(fallbacks, log)
  }, REPLAY_INTERVAL_MS)
  timer.unref()
  opened.defer(() => clearInterval(timer))
  const houseTimer = setInterval(() => void keepHouse(service, housekeeping), HOUSEKEEPING_INTERVAL_MS)
  houseTimer.unref()
  opened.defer(() => clearInterval(houseTimer))
  // First of all, before anybody is declined: who is, looks at once whether another daemon will come.
  opened.defer(() => socketLock.touch())

  const everything = opened.move()
  return { close: () => everything.disposeAsync() }
}

function isLockHeld(failure: unknown): boolean {
  return failure instanceof LockHeld
}

/** The same after a restart, and another one's in whatever mount namespace. */
function instanceOf(stateDir: string): string {
  const { dev, ino } = statSync(stateDir)
  return `${dev}:${ino}`
}

function askUpstream(socketPath: string, request: GrantRequest, by: Deadline): Promise<GrantReply> {
  return new IpamClient(socketPath).grant(request, by)
}

/** What is not ours to lease: the service ranges, and what the node uses but for what the configuration allows. */
function foreignRanges(
  { serviceRanges, allowedOverlaps }: IpamdConfig,
  { readHostRanges }: DaemonEdges,
): Pick<LeaseServiceEdges, 'serviceRanges' | 'readHostRanges'> {
  const services = serviceRanges.map((prefix, index) => ({ prefix, source: `serviceRanges[${index}]` }))
  if (readHostRanges === undefined) return { serviceRanges: services }
  return {
    serviceRanges: services,
    readHostRanges: async by => {
      const ranges = await readHostRanges(by)
      return ranges
        .filter(({ prefix }) => !allowedOverlaps.some(allowed => containsPrefix(allowed, prefix)))
        .map(({ prefix, what }) => ({ prefix, source: `${what} of the node` }))
    },
  }
}

function reconcilerOf(
  { service, reader, node, repairer }: Reconciled,
  { config, edges }: { readonly config: IpamdConfig; readonly edges: DaemonEdges },
): Reconciler {
  const { boot, onBlockTaken, onBlockReturned, uptimeMs, log } = edges
  const store = storeView(reader)
  const { graceMs } = config.reconcile
  const alsoCheck = repairer && ((kernel: Kernel, by: Deadline) => repairer.findings(kernel, by))
  const more = { boot, onBlockTaken, onBlockReturned, uptimeMs, log, alsoCheck }
  return new Reconciler({ graceMs }, { service, store, node, ...more })
}

interface Reconciled {
  readonly service: LeaseService
  readonly reader: StoreReader
  readonly node: NodeEdges
  readonly repairer: Repairer | undefined
}

function repairerOf({ config, edges, metrics, reader, repairs }: Repaired): Repairer | undefined {
  const { node, exposures, log } = edges
  if (node === undefined || exposures === undefined) return undefined
  const store = storeView(reader)
  const poolPrefixes = () => [...config.pools.flatMap(({ prefixes }) => prefixes), ...store.blocks()]
  const count = (what: string): void => {
    metrics.countNftablesRepair(what)
    repairs.count(what)
  }
  return new Repairer({ openKernel: node.openKernel, lock: node.lock, ...exposures, poolPrefixes, count, log })
}

interface Repaired {
  readonly config: IpamdConfig
  readonly edges: DaemonEdges
  readonly metrics: Metrics
  readonly reader: StoreReader
  readonly repairs: Tally
}

function cniServerOf(
  host: CniHost,
  parts: {
    readonly config: IpamdConfig
    readonly edges: DaemonEdges
    readonly service: LeaseService
    readonly spool: Spool
    readonly metrics: Metrics
    readonly declined: Tally
  },
): CniServer {
  const { config, edges, service, spool, metrics, declined } = parts
  const asker = { via: 'tulle', hostNetnsInode: edges.boot.hostNetnsInode } as const
  const ipam = leaseEdge({ service, spool, asker, countRefusal: problem => metrics.countRefusal(problem) })
  const { nowUnixMs, log } = edges
  const counters: CniCounters = {
    countServed: call => metrics.countServed(call),
    countDeclined: reason => {
      metrics.countDeclined(reason)
      declined.count(reason)
    },
  }
  return new CniServer({ ...host, ipam, socketPath: config.socketPath, nowUnixMs, log, counters })
}

/** Waits for `work`, but no longer than `ms`: what is not done by then is as after a crash. */
async function within(ms: number, work: Promise<void>): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  await Promise.race([work, late])
  clearTimeout(timer)
}

function collect(fallbacks: Fallbacks, log: Log): void {
  try {
    fallbacks.collect()
  } catch (cause) {
    // Notes about speed: they are looked for again at the next turn.
    log.error('notes of calls without ipamd not read', { error: cause })
  }
}

async function replay(spool: Spool, log: Log): Promise<void> {
  try {
    await spool.replay()
  } catch (cause) {
    // What is left is tried again at the next turn.
    log.error('spool replay failed', { error: cause })
  }
}

async function stopServing(server: Server): Promise<void> {
  const closed = new Promise<void>(resolve => server.close(() => resolve()))
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
  await closed
  clearTimeout(timer)
}

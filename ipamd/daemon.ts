import type { Server } from 'node:http'
import { dirname, join } from 'node:path'
import { SPOOL_DIR_NAME } from '../lib/ipam/spool-entry.ts'
import type { Prefix } from '../lib/net/prefix.ts'
import type { Deadline } from '../lib/time/deadline.ts'
import { createApi } from './api/server.ts'
import type { IpamdConfig } from './config.ts'
import { preparePrivateFolder } from './folders.ts'
import { LeaseService } from './lease-service.ts'
import { takeLock } from './lock-file.ts'
import type { Log } from './log.ts'
import { listenOnSocket } from './socket-file.ts'
import { Spool } from './spool.ts'
import type { BootFacts } from './store/boot-facts.ts'
import { SqliteStore } from './store/store.ts'

/** What the daemon needs of the machine. */
export interface DaemonEdges {
  readonly log: Log
  readonly pid: number
  readonly uid: number
  /** The wall clock, in unix milliseconds. */
  readonly nowUnixMs: () => number
  /** A clock that nobody sets, in milliseconds. */
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
}

/** A daemon that listens. */
export interface Daemon {
  /** Stops to accept, lets the requests that are running end, moves the store into its main file, and removes the socket. */
  close(): Promise<void>
}

const REPLAY_INTERVAL_MS = 30_000
/** How long requests that are running may take when the daemon stops. */
const DRAIN_MS = 600

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

  const stateLock = takeLock(join(stateDir, 'lock'), { what: `state folder ${stateDir}`, pid, tryLock })
  opened.defer(() => stateLock.release())
  const socketLock = takeLock(`${socketPath}.lock`, { what: `socket ${socketPath}`, pid, tryLock })
  opened.defer(() => socketLock.release())
  const store = new SqliteStore(join(stateDir, 'ipam.db'), edges.boot)
  opened.defer(() => store.close())

  const service = new LeaseService(config.pools, {
    store,
    nowUnixMs: edges.nowUnixMs,
    uptimeMs: edges.uptimeMs,
    onBlockTaken: edges.onBlockTaken,
  })
  // What waits for a commit gets it before the store is closed.
  opened.defer(() => service.flush())
  await service.announceBlocks()
  const spool = new Spool(spoolFolder, { service, log })
  // What it can't do now stays, and must not keep the daemon from serving: a lease is safe from its own entry in any case.
  await replay(spool, log)

  const peers = { peerCredentials: edges.peerCredentials, ownUid: edges.uid }
  const server = createApi({ service, spool }, { peers, log })
  opened.defer(() => stopServing(server))
  await listenOnSocket(server, socketPath)
  // A connection that can't be accepted is its caller's loss, not the end of the daemon.
  server.on('error', cause => log.error('accepting a connection failed', { error: cause }))
  const timer = setInterval(() => void replay(spool, log), REPLAY_INTERVAL_MS)
  timer.unref()
  opened.defer(() => clearInterval(timer))

  const everything = opened.move()
  return { close: () => everything.disposeAsync() }
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

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { parseConfig } from '../config.ts'
import { start, type CniHost, type DaemonEdges } from '../daemon.ts'
import { jsonLog } from '../../lib/log/json-log.ts'

/** A daemon that listens, in a folder of its own, for tests of the API. */
export interface TestDaemon extends AsyncDisposable {
  readonly folder: string
  readonly socket: string
  readonly log: readonly string[]
  /** The wall clock of the daemon. */
  nowUnixMs: number
}

/** What of the machine the daemon gets. */
export interface TestParts {
  readonly uid?: number
  readonly node?: DaemonEdges['node']
  readonly cni?: Omit<CniHost, 'lockSocketPath'>
}

/** Starts a daemon without the machine: no route is added, no process is asked who it is. */
export async function startForTest(pool: object = {}, { uid = 0, node, cni }: TestParts = {}): Promise<TestDaemon> {
  const folder = mkdtempSync(join(tmpdir(), 'ipamd-api-'))
  const socket = join(folder, 'run', 'ipamd.sock')
  const config = parseConfig(
    JSON.stringify({
      socket,
      stateDir: join(folder, 'state'),
      pools: [{ name: 'default', prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'], ...pool }],
    }),
    'n1',
  )
  const log: string[] = []
  const made = { folder, socket, log, nowUnixMs: 1_700_000_000_000 }
  const edges: DaemonEdges = {
    log: jsonLog(line => log.push(line)),
    pid: 1,
    uid: userInfo().uid,
    nowUnixMs: () => made.nowUnixMs,
    uptimeMs: () => made.nowUnixMs,
    boot: { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 },
    tryLock: () => true,
    peerCredentials: () => ({ uid }),
    onBlockTaken: async () => {},
    onBlockReturned: async () => {},
    readMarks: async () => [],
    ...(node === undefined ? {} : { node }),
    ...(cni === undefined ? {} : { cni: { ...cni, lockSocketPath: socket } }),
  }
  const daemon = await start(config, edges)
  return Object.assign(made, {
    [Symbol.asyncDispose]: async () => {
      await daemon.close()
      rmSync(folder, { recursive: true })
    },
  })
}

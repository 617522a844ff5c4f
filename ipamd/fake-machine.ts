import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { loadAddon } from '../native/addon.ts'
import { buildAddon } from '../native/build.ts'
import { parseConfig, type IpamdConfig } from './config.ts'
import { start, type Daemon, type DaemonEdges } from './daemon.ts'
import { jsonLog } from '../lib/log/json-log.ts'

const ADDON = join(import.meta.dirname, '..', 'dist', 'bin', 'lib', 'tulle.node')
await buildAddon(ADDON)
export const addon = loadAddon(ADDON)

interface Rig {
  readonly folder: string
  readonly socket: string
  readonly config: IpamdConfig
  readonly log: string[]
  nowUnixMs: number
  readonly start: (edges?: Partial<DaemonEdges>) => Promise<Daemon>
}

/** Daemons that it starts are closed after the test. */
export function rig(t: Test, pool: object = {}): Rig {
  const folder = mkdtempSync(join(tmpdir(), 'ipamd-test-'))
  const socket = join(folder, 'run', 'ipamd.sock')
  const text = JSON.stringify({
    socket,
    stateDir: join(folder, 'state'),
    pools: [{ name: 'default', prefixes: ['10.244.0.0/16', 'fd00:10:244::/56'], ...pool }],
  })
  const daemons: Daemon[] = []
  t.teardown(async () => {
    for (const daemon of daemons) await daemon.close()
    rmSync(folder, { recursive: true })
  })
  const made: Rig = {
    folder,
    socket,
    config: parseConfig(text, 'n1'),
    log: [],
    nowUnixMs: 1_700_000_000_000,
    start: async (edges = {}) => {
      const daemon = await start(made.config, {
        log: jsonLog(line => made.log.push(line)),
        pid: process.pid,
        uid: process.getuid?.() ?? 0,
        nowUnixMs: () => made.nowUnixMs,
        uptimeMs: () => made.nowUnixMs,
        boot: { bootId: 'b', initStartTicks: 1, hostNetnsInode: 2 },
        tryLock: fd => addon.tryLock(fd),
        peerCredentials: fd => addon.peerCredentials(fd),
        onBlockTaken: async () => {},
        onBlockReturned: async () => {},
        readMarks: async () => [],
        ...edges,
      })
      daemons.push(daemon)
      return daemon
    },
  }
  return made
}

export function attachment(containerId: string, network = 'net') {
  return { network, containerId, ifName: 'eth0' }
}

export function addressesOf(body: Readonly<Record<string, unknown>>): readonly string[] {
  return (body as { lease: { addresses: { address: string }[] } }).lease.addresses.map(each => each.address)
}

/** A whole request for a lease, as bytes. */
export function rawAllocate(containerId: string): string {
  const body = JSON.stringify({ attachment: attachment(containerId) })
  return `POST /v1/leases HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

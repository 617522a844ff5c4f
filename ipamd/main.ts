import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { DEFAULT_SOCKET_PATH } from '../lib/cni/tulle-configuration.ts'
import { observeHostRanges } from '../lib/kernel/host-ranges.ts'
import { loadAddon } from '../native/addon.ts'
import packageJson from '../package.json' with { type: 'json' }
import { takeBlockIn, deleteBlockRoute } from './block-route.ts'
import { parseCommandLine, USAGE } from './command-line.ts'
import { parseConfig } from './config.ts'
import { start } from './daemon.ts'
import { inheritedSocket } from './inherited-socket.ts'
import { jsonLog } from '../lib/log/json-log.ts'
import { dropExposure, readExposures } from '../lib/os/exposure-files.ts'
import { keepHeapSmall } from '../lib/os/small-heap.ts'
import { stopOnSignal } from '../lib/os/stop-on-signal.ts'
import { linuxNode } from './reconcile/linux-node.ts'
import { clockSinceBoot, readBootFacts } from './read-boot-facts.ts'
import { readBlockMarks, readLeaseMarks } from './read-lease-marks.ts'

/**
 * Runs ipamd: resolves when it serves, or when it has failed. After SIGTERM or SIGINT the process ends by itself, in less
 * than a second. Exit codes: 0, 1 when the configuration is refused or the start fails, 2 for wrong arguments.
 */
export async function main({ addonPath }: { readonly addonPath: string }): Promise<void> {
  const line = parseCommandLine(process.argv.slice(2))
  switch (line.do) {
    case 'help':
      process.stdout.write(USAGE)
      return
    case 'version':
      process.stdout.write(`ipamd ${packageJson.version}\n`)
      return
    case 'refuse':
      process.stderr.write(`ipamd: ${line.reason}\n${USAGE}`)
      process.exitCode = 2
      return
    case 'serve':
      return serve(line, addonPath)
  }
}

/** Threads that wait for the kernel: removing a link holds one for 16 ms. To be said before the first has started. */
const KERNEL_THREADS = '8'

async function serve(
  { configPath, waitMs }: { readonly configPath: string; readonly waitMs: number },
  addonPath: string,
): Promise<void> {
  process.env['UV_THREADPOOL_SIZE'] ??= KERNEL_THREADS
  keepHeapSmall()
  const log = jsonLog(text => process.stderr.write(text))
  // When the reader of the log goes away there is nowhere to say so, and leases matter more than lines about them.
  process.stderr.on('error', () => {})
  try {
    const config = parseConfig(readFileSync(configPath, 'utf8'), hostname())
    const addon = loadAddon(addonPath)
    if (config.procSys !== undefined) addon.useSysctlFolder(config.procSys)
    const daemon = await start(config, {
      log,
      tryLock: fd => addon.tryLock(fd),
      peerCredentials: fd => addon.peerCredentials(fd),
      pid: process.pid,
      uid: process.getuid?.() ?? 0,
      nowUnixMs: Date.now,
      uptimeMs: clockSinceBoot(),
      boot: readBootFacts(),
      onBlockTaken: takeBlockIn(addon, log),
      readMarks: readLeaseMarks(addon),
      readBlockMarks: readBlockMarks(addon),
      onBlockReturned: deleteBlockRoute(addon, log),
      readHostRanges: by => observeHostRanges(addon, by),
      node: linuxNode(addon, DEFAULT_SOCKET_PATH),
      exposures: {
        readExposures: () => readExposures(DEFAULT_SOCKET_PATH),
        dropExposure: attachment => dropExposure(DEFAULT_SOCKET_PATH, attachment),
      },
      cni: {
        addon,
        lockSocketPath: DEFAULT_SOCKET_PATH,
        monotonicMs: () => Number(process.hrtime.bigint() / 1_000_000n),
      },
      waitMs,
      trimMemory: () => void addon.trimMemory(),
      inheritedSocket: inheritedSocket(process.env, process.pid),
    })
    stopOnSignal(daemon, { from: process, log })
    log.info('ready', { socket: config.socketPath, stateDir: config.stateDir, node: config.nodeName, pid: process.pid })
  } catch (failure) {
    process.stderr.write(`ipamd: ${configPath}: ${(failure as Error).message}\n`)
    process.exitCode = 1
  }
}

import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { isErrnoException } from '../lib/os/durable-file.ts'
import { openLinuxKernel } from '../lib/kernel/linux-kernel.ts'
import { openLinuxNodeKernel } from '../lib/kernel/linux-node-kernel.ts'
import { watchNode } from '../lib/kernel/node-changes.ts'
import { inClusterAccess, kubeconfigAccess, parseServer, type ServerAccess } from '../lib/kube/server-access.ts'
import { jsonLog, type Log } from '../lib/log/json-log.ts'
import { heapCollector, MemoryKeeper } from '../lib/os/memory-keeper.ts'
import { keepHeapSmall } from '../lib/os/small-heap.ts'
import { stopOnSignal } from '../lib/os/stop-on-signal.ts'
import { loadAddon } from '../native/addon.ts'
import packageJson from '../package.json' with { type: 'json' }
import { startAgent } from './agent.ts'
import { DEFAULT_CONFIG_PATH, parseCommandLine, USAGE, type Options } from './command-line.ts'
import { readHostFacts } from './host/read-host-facts.ts'
import { installBinaries } from './install/install-binaries.ts'
import { installConflist } from './install/install-conflist.ts'
import { uninstall } from './install/uninstall.ts'
import { DEFAULT_CONFIG, parseConfig, type AgentConfig, type KubeSource } from './config.ts'

/**
 * Runs tulle-agent: resolves when it runs, or when it has failed. After SIGTERM or SIGINT the process ends by itself. Exit codes:
 * 0, 1 when the configuration is refused or the start fails, 2 for wrong arguments.
 */
export async function main({ addonPath }: { readonly addonPath: string }): Promise<void> {
  const line = parseCommandLine(process.argv.slice(2))
  switch (line.do) {
    case 'help':
      process.stdout.write(USAGE)
      return
    case 'version':
      process.stdout.write(`tulle-agent ${packageJson.version}\n`)
      return
    case 'refuse':
      process.stderr.write(`tulle-agent: ${line.reason}\n${USAGE}`)
      process.exitCode = 2
      return
    case 'run':
      return reportFailure(log => run(line.options, { addonPath, log }))
    case 'install':
      return reportFailure(log => install(line.options, log))
    case 'uninstall':
      return reportFailure(log => remove(line.options, { addonPath, log }))
  }
}

/** A failure is one line for a person, and exit code 1. */
async function reportFailure(command: (log: Log) => Promise<void>): Promise<void> {
  const log = jsonLog(text => process.stderr.write(text))
  // When the reader of the log goes away there is nowhere to say so, and routes matter more than lines about them.
  process.stderr.on('error', () => {})
  try {
    await command(log)
  } catch (failure) {
    process.stderr.write(`tulle-agent: ${(failure as Error).message}\n`)
    process.exitCode = 1
  }
}

interface Outside {
  readonly addonPath: string
  readonly log: Log
}

async function run(options: Options, { addonPath, log }: Outside): Promise<void> {
  keepHeapSmall()
  const config = readConfig(options)
  const nodeName = config.nodeName ?? process.env['NODE_NAME']
  if (nodeName === undefined || nodeName === '') {
    throw new Error('the name of this node is not known: want --node, node in the configuration, or NODE_NAME')
  }
  const addon = loadAddon(addonPath)
  const memory = new MemoryKeeper({
    residentBytes: () => process.memoryUsage.rss(),
    collect: heapCollector(),
    trim: () => void addon.trimMemory(),
  })
  const agent = await startAgent(
    { ...config, nodeName },
    {
      access: accessOf(config.kube),
      kernel: openLinuxNodeKernel(addon),
      openKernel: () => openLinuxKernel(addon, { exchange: 'async' }),
      watchNode: watching => watchNode(addon, watching),
      readHostFacts: () => readHostFacts(addon, config.hostEtc),
      installConflist: paths => installConflist(paths, String(process.pid)),
      giveBackMemory: () => memory.look(),
      log,
      nowUnixMs: Date.now,
      waitMs: options.waitMs,
    },
  )
  stopOnSignal(agent, { from: process, log })
  log.info('started', { node: nodeName, mode: config.routing.mode, port: agent.httpPort, pid: process.pid })
}

async function install(options: Options, log: Log): Promise<void> {
  const { install: paths } = readConfig(options)
  if (paths === undefined) throw new Error('the configuration has no install: want from where to where')
  const replaced = await installBinaries({ from: paths.binFrom, to: paths.binTo })
  log.info('executables are installed', { to: paths.binTo, replaced })
}

async function remove(options: Options, { addonPath, log }: Outside): Promise<void> {
  const { install: paths, ipamdStateDir, ipamdSocketPath } = readConfig(options)
  const purge = options.purge ? [ipamdStateDir, dirname(ipamdSocketPath)] : []
  await uninstall({ addon: loadAddon(addonPath), install: paths, purge, log })
}

/** The command line goes before the file. The file may be missing where nobody named it. */
function readConfig({ configPath, node, server, kubeconfig }: Options): AgentConfig {
  const config = readConfigFile(configPath)
  return {
    ...config,
    ...(node === undefined ? {} : { nodeName: node }),
    ...(server === undefined ? {} : { kube: { from: 'server', server } as const }),
    ...(kubeconfig === undefined ? {} : { kube: { from: 'kubeconfig', path: kubeconfig } as const }),
  }
}

function readConfigFile(configPath: string | undefined): AgentConfig {
  const path = configPath ?? DEFAULT_CONFIG_PATH
  let text
  try {
    text = readFileSync(path, 'utf8')
  } catch (failure) {
    if (configPath === undefined && isErrnoException(failure) && failure.code === 'ENOENT') return DEFAULT_CONFIG
    throw failure
  }
  try {
    return parseConfig(text)
  } catch (failure) {
    throw new Error(`${path}: ${(failure as Error).message}`, { cause: failure })
  }
}

function accessOf(source: KubeSource): ServerAccess {
  switch (source.from) {
    case 'pod':
      return inClusterAccess(process.env)
    case 'kubeconfig':
      return kubeconfigAccess(readFileSync(source.path, 'utf8'))
    case 'server': {
      const { server, caFile, tokenFile } = source
      return {
        url: parseServer(server),
        ...(caFile === undefined ? {} : { ca: readFileSync(caFile, 'utf8') }),
        ...(tokenFile === undefined ? {} : { token: () => readFileSync(tokenFile, 'utf8').trim() }),
      }
    }
  }
}

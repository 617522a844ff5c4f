/**
 * Measures leasing and releasing at 10, 1,000 and 60,000 leases, ipamd beside host-local, in one run: `npm run bench:ipam`.
 * `npm run bench:ipam -- daemon` measures only what ipamd itself takes with 60,000 leases: memory, and starting.
 *
 * Both keep their leases in the same folder of the same disk, and take turns. A request to ipamd is one connection to its socket;
 * host-local is executed, as a runtime does. Raw samples go to bench/results/ipam.json.
 */
import '../e2e/netns/harness/isolated.ts'
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { debianPlugins } from '../e2e/netns/harness/debian-plugins.ts'
import { Ipamd } from '../e2e/netns/harness/ipamd.ts'
import { callIpamd } from '../e2e/netns/harness/lease-client.ts'
import { BIN_FOLDER, RUN_FOLDER } from '../e2e/netns/harness/tulle.ts'
import { cpuOfMs } from './process-usage.ts'
import { quantile, renderTable } from './report/statistics.ts'

const RESULTS = join(import.meta.dirname, 'results')
const SOCKET = join(RUN_FOLDER, 'ipamd.sock')
const CROWD = 64
/** 64 of host-local wait for one lock, and each reads 60,000 files while it has it. */
const EXECUTION_MS = 300_000

/**
 * How many pairs of lease and release are measured. host-local reads every lease for each, so that it gets fewer: a crowd of it has
 * one pair for each client.
 */
const LEVELS = [
  { leases: 10, turns: 20, perTurn: { ipamd: 20, hostLocal: 2 } },
  { leases: 1_000, turns: 20, perTurn: { ipamd: 20, hostLocal: 2 } },
  { leases: 60_000, turns: 5, perTurn: { ipamd: 80, hostLocal: 1 } },
] as const

interface Contender {
  readonly name: 'ipamd' | 'host-local'
  readonly allocate: (containerId: string) => Promise<void>
  readonly release: (containerId: string) => Promise<void>
}

interface Sample {
  readonly contender: string
  readonly leases: number
  readonly clients: number
  readonly verb: 'lease' | 'release'
  readonly ms: number
}

interface Throughput {
  readonly contender: string
  readonly leases: number
  /** Leases and releases, each counted once. */
  readonly perSecond: number
}

/** Only the daemon: no requests are measured, and nothing of host-local. */
const DAEMON_ONLY = process.argv.includes('daemon')
/** Starts that are measured. */
const STARTS = 5
/** When the daemon has looked at the kernel for the first time, which it does behind its start. */
const AT_REST_MS = 10_000

const folder = mkdtempSync(join(tmpdir(), 'tulle-bench-ipam-'))
const samples: Sample[] = []
const throughputs: Throughput[] = []
let nextContainer = 0
try {
  await bench()
} finally {
  rmSync(folder, { recursive: true })
}

async function bench(): Promise<void> {
  const options = {
    executable: join(BIN_FOLDER, 'ipamd'),
    configFile: join(folder, 'ipamd.json'),
    config: {
      socket: SOCKET,
      stateDir: join(folder, 'state'),
      pools: [{ name: 'default', prefixes: ['10.244.0.0/16'], cooldownSeconds: 0 }],
    },
  }
  const empty = await measureStart(options)
  await using ipamd = await Ipamd.start(options)
  if (DAEMON_ONLY) await fillIpamd(0, LEVELS[2].leases)
  else await measureLevels()
  const rssMiB = rssOf(ipamd.pid)
  const stopped = performance.now()
  await ipamd.stop()
  const stopMs = performance.now() - stopped
  const starts: Start[] = []
  for (let turn = 0; turn < STARTS; turn++) starts.push(await measureStart(options))
  report({ rssMiB, stopMs, empty, starts })
}

async function measureLevels(): Promise<void> {
  const hostLocal = await openHostLocal()
  let filled = 0
  for (const level of LEVELS) {
    await fillIpamd(filled, level.leases)
    hostLocal.fill(filled, level.leases)
    filled = level.leases
    await measureLevel(level, { ipamd: openIpamd(), hostLocal: hostLocal.contender })
  }
}

/** What one start of the daemon takes, until it answers and when it is at rest. */
interface Start {
  readonly ms: number
  readonly cpuMs: number
  readonly rssMiB: number
  readonly rssAtRestMiB: number
}

async function measureStart(options: Parameters<typeof Ipamd.start>[0]): Promise<Start> {
  const began = performance.now()
  await using ipamd = await Ipamd.start(options)
  const ms = performance.now() - began
  const [cpuMs, rssMiB] = [cpuOfMs(ipamd.pid), rssOf(ipamd.pid)]
  await setTimeout(AT_REST_MS)
  return { ms, cpuMs, rssMiB, rssAtRestMiB: rssOf(ipamd.pid) }
}

async function measureLevel(
  level: (typeof LEVELS)[number],
  { ipamd, hostLocal }: { readonly ipamd: Contender; readonly hostLocal: Contender },
): Promise<void> {
  for (let turn = 0; turn < level.turns; turn++) {
    for (let pair = 0; pair < level.perTurn.ipamd; pair++) await measurePair(ipamd, level.leases, 1)
    for (let pair = 0; pair < level.perTurn.hostLocal; pair++) await measurePair(hostLocal, level.leases, 1)
  }
  await measureCrowd(ipamd, level.leases, 20)
  await measureCrowd(hostLocal, level.leases, 1)
  await measureCrowd(ipamd, level.leases, 20)
}

/** 64 clients, each with `pairs` leases and releases one behind the other. */
async function measureCrowd(contender: Contender, leases: number, pairs: number): Promise<void> {
  const began = performance.now()
  const clients = Array.from({ length: CROWD }, async () => {
    for (let pair = 0; pair < pairs; pair++) await measurePair(contender, leases, CROWD)
  })
  await Promise.all(clients)
  const seconds = (performance.now() - began) / 1000
  throughputs.push({ contender: contender.name, leases, perSecond: (2 * CROWD * pairs) / seconds })
}

async function measurePair({ name, allocate, release }: Contender, leases: number, clients: number): Promise<void> {
  const containerId = `measured-${nextContainer++}`
  for (const [verb, work] of [['lease', allocate] as const, ['release', release] as const]) {
    const began = performance.now()
    await work(containerId)
    samples.push({ contender: name, leases, clients, verb, ms: performance.now() - began })
  }
}

function openIpamd(): Contender {
  return { name: 'ipamd', allocate: id => ask('/v1/leases', id), release: id => ask('/v1/leases/release', id) }
}

async function ask(path: string, containerId: string): Promise<void> {
  const attachment = { network: 'bench', containerId, ifName: 'eth0' }
  const { status, body } = await callIpamd(SOCKET, { path, body: { attachment }, timeoutMs: 30_000 })
  if (status !== 200) throw new Error(`${path}: ${status} ${JSON.stringify(body)}`)
}

async function fillIpamd(from: number, to: number): Promise<void> {
  let next = from
  const clients = Array.from({ length: CROWD }, async () => {
    while (next < to) await ask('/v1/leases', `filled-${next++}`)
  })
  await Promise.all(clients)
}

async function openHostLocal() {
  const { cniPath } = await debianPlugins(folder)
  const executable = join(cniPath[0] ?? '', 'host-local')
  const dataDir = join(folder, 'host-local')
  const ipam = { type: 'host-local', ranges: [[{ subnet: '10.245.0.0/16' }]], dataDir }
  const configuration = JSON.stringify({ cniVersion: '1.0.0', name: 'bench', type: 'none', ipam })
  mkdirSync(join(dataDir, 'bench'), { recursive: true })
  return {
    contender: {
      name: 'host-local' as const,
      allocate: (id: string) => execute(executable, { verb: 'ADD', id, configuration }),
      release: (id: string) => execute(executable, { verb: 'DEL', id, configuration }),
    },
    /** As host-local itself would have left them: one file for each address. */
    fill: (from: number, to: number) => {
      for (let index = from; index < to; index++) {
        const number = index + 2
        const address = `10.245.${number >> 8}.${number & 255}`
        writeFileSync(join(dataDir, 'bench', address), `filled-${index}\r\neth0`)
        if (index === to - 1) writeFileSync(join(dataDir, 'bench', 'last_reserved_ip.0'), address)
      }
    },
  }
}

function execute(
  executable: string,
  { verb, id, configuration }: { readonly verb: string; readonly id: string; readonly configuration: string },
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const env = { CNI_COMMAND: verb, CNI_CONTAINERID: id, CNI_IFNAME: 'eth0', CNI_NETNS: '/dev/null', CNI_PATH: '/' }
  const child = spawn(executable, [], { env, stdio: ['pipe', 'pipe', 'inherit'], timeout: EXECUTION_MS })
  let said = ''
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString('utf8')))
  child.on('error', reject)
  child.on('close', code => (code === 0 ? resolve() : reject(new Error(`host-local ${verb}: ${code} ${said}`))))
  child.stdin.end(configuration)
  return promise
}

function rssOf(pid: number): number {
  const kiB = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Number(kiB) / 1024
}

interface Daemon {
  /** With 60,000 leases, after all requests. */
  readonly rssMiB: number
  readonly stopMs: number
  /** A start without a lease. */
  readonly empty: Start
  /** Starts with 60,000 leases. */
  readonly starts: readonly Start[]
}

function report(daemon: Daemon): void {
  if (!DAEMON_ONLY) reportRequests()
  const of = (key: keyof Start): string =>
    quantile(
      daemon.starts.map(start => start[key]),
      0.5,
    ).toFixed(0)
  process.stdout.write(
    `ipamd, 60,000 leases: ${daemon.rssMiB.toFixed(0)} MiB after the requests; ready after ${of('ms')} ms, ${of('cpuMs')} ms of CPU, ${of('rssMiB')} MiB; ` +
      `at rest ${of('rssAtRestMiB')} MiB (medians of ${STARTS}); stopped after ${daemon.stopMs.toFixed(0)} ms\n` +
      `ipamd, no lease: ready after ${daemon.empty.ms.toFixed(0)} ms, ${daemon.empty.cpuMs} ms of CPU, ${daemon.empty.rssMiB.toFixed(0)} MiB; at rest ${daemon.empty.rssAtRestMiB.toFixed(0)} MiB\n`,
  )
  const machine = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    kernel: release(),
    loadavg: readFileSync('/proc/loadavg', 'utf8').trim(),
    folder,
  }
  mkdirSync(RESULTS, { recursive: true })
  const document = { date: new Date().toISOString(), machine, daemon, throughputs, samples }
  const file = DAEMON_ONLY ? 'ipam-daemon.json' : 'ipam.json'
  writeFileSync(join(RESULTS, file), `${JSON.stringify(document)}\n`)
}

function reportRequests(): void {
  const header = ['leases, clients', 'lease p50 ms', 'p99', 'release p50 ms', 'p99', 'per second', 'samples']
  const rows = LEVELS.flatMap(({ leases }) =>
    [1, CROWD].flatMap(clients => ['ipamd', 'host-local'].map(name => rowOf(name, leases, clients))),
  )
  process.stdout.write(`${renderTable([header, ...rows])}\n`)
}

function rowOf(name: string, leases: number, clients: number): readonly string[] {
  const own = samples.filter(each => each.contender === name && each.leases === leases && each.clients === clients)
  const cells = (['lease', 'release'] as const).flatMap(verb => {
    const times = own.filter(each => each.verb === verb).map(each => each.ms)
    if (times.length === 0) return ['', '']
    return [quantile(times, 0.5), quantile(times, 0.99)].map(value => value.toFixed(2))
  })
  const rates = throughputs.filter(each => each.contender === name && each.leases === leases)
  const best = clients === 1 || rates.length === 0 ? '' : Math.max(...rates.map(each => each.perSecond)).toFixed(0)
  return [`${name}, ${leases}, ${clients}`, ...cells, best, String(own.length / 2)]
}

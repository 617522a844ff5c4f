/**
 * Measures the plugin beside its peers, in one run: `npm run bench [-- PODS [AT_ONCE]]`.
 *
 * ADD, CHECK, DEL and STATUS of single pods, with and without a port of the node; the contenders take turns pod by pod, so that
 * what else the machine does hits them alike. Then many ADDs at once, and many DELs. Wall time runs from the start of the first
 * executable of a chain to the end of its last; CPU time is that of the whole process tree, and of ipamd. Raw samples go to
 * bench/results/attach.json, the table to docs/performance.md.
 */
import '../e2e/netns/harness/isolated.ts'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { cpuOfEndedChildrenMs } from '../e2e/netns/harness/invoke.ts'
import type { JsonObject } from '../e2e/netns/harness/json.ts'
import { Netns } from '../e2e/netns/harness/namespace.ts'
import { newAttachment, type ChainOutcome, type RuntimeAttachment } from '../e2e/netns/harness/runtime.ts'
import { startIpamd } from '../e2e/netns/harness/tulle.ts'
import { renderAttachTable, writeInto, type Sample } from './attach-report.ts'
import { openContenders, type Contender } from './chains.ts'

const RESULTS = join(import.meta.dirname, 'results')
const PODS = Number(process.argv[2] ?? 40)
const AT_ONCE = Number(process.argv[3] ?? 100)
/** Ports of the node from here on, one for each pod that asks for one. */
const FIRST_PORT = 20_000

let lastPort = FIRST_PORT
const folder = mkdtempSync(join(tmpdir(), 'tulle-bench-'))
try {
  await bench()
} finally {
  rmSync(folder, { recursive: true })
}

async function bench(): Promise<void> {
  await using node = Netns.own()
  await node.run(['ip', 'link', 'set', 'lo', 'up'])
  await using ipamd = await startIpamd({ folder, prefixes: ['10.244.0.0/16'] })
  const contenders = await openContenders(folder)
  const cpu = (): number => cpuOfEndedChildrenMs() + cpuOfMs(ipamd.pid)
  const samples: Sample[] = []
  for (const hasPort of [false, true]) {
    for (const contender of contenders) await single(contender, { hasPort, cpu }) // the first of each pays for cold caches
    for (let pod = 0; pod < PODS; pod++)
      for (const contender of contenders) samples.push(...(await single(contender, { hasPort, cpu })))
  }
  for (const hasPort of [false, true])
    for (const contender of contenders) samples.push(...(await manyAtOnce(contender, { hasPort, cpu })))
  report(samples)
}

interface Setting {
  readonly hasPort: boolean
  readonly cpu: () => number
}

async function single({ name, runtime }: Contender, { hasPort, cpu }: Setting): Promise<readonly Sample[]> {
  await using pod = await Netns.create('bench')
  const attachment = attachmentOf(pod, hasPort)
  const samples: Sample[] = []
  const take = async (verb: Sample['verb'], run: () => Promise<ChainOutcome>): Promise<void> => {
    const before = cpu()
    const outcome = succeeded(await run(), `${name} ${verb}`)
    samples.push({ contender: name, verb, hasPort, atOnce: 1, wallMs: outcome.wallMs, cpuMs: cpu() - before })
  }
  await take('ADD', () => runtime.add(attachment))
  await take('CHECK', () => runtime.check(attachment))
  await take('DEL', () => runtime.del(attachment))
  if (!hasPort && runtime.list.cniVersion === '1.1.0') await take('STATUS', () => runtime.status())
  return samples
}

async function manyAtOnce({ name, runtime }: Contender, { hasPort, cpu }: Setting): Promise<readonly Sample[]> {
  const pods = await Promise.all(Array.from({ length: AT_ONCE }, () => Netns.create('bench')))
  const attachments = pods.map(pod => attachmentOf(pod, hasPort))
  const samples: Sample[] = []
  for (const verb of ['ADD', 'DEL'] as const) {
    const before = cpu()
    const startMs = performance.now()
    const outcomes = await Promise.allSettled(
      attachments.map(each => (verb === 'ADD' ? runtime.add(each) : runtime.del(each))),
    )
    const wallMs = performance.now() - startMs
    // A chain that cannot do so many at once is a finding, not the end of the run.
    const failed = outcomes.filter(each => each.status === 'rejected' || each.value.exitCode !== 0).length
    samples.push({ contender: name, verb, hasPort, atOnce: AT_ONCE, wallMs, cpuMs: cpu() - before, failed })
  }
  for (const pod of pods) await pod.delete()
  return samples
}

function attachmentOf(pod: Netns, hasPort: boolean): RuntimeAttachment {
  const portMappings: readonly JsonObject[] = [{ hostPort: ++lastPort, containerPort: 80, protocol: 'tcp' }]
  return { ...newAttachment(pod), ...(hasPort ? { capabilities: { portMappings } } : {}) }
}

function succeeded(outcome: ChainOutcome, what: string): ChainOutcome {
  if (outcome.exitCode !== 0) throw new Error(`${what}: ${outcome.stdout}${outcome.stderr}`)
  return outcome
}

/** CPU time of a process that runs, in milliseconds: what its threads have used, to the nanosecond. */
function cpuOfMs(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`)
  const used = tasks.map(task => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]))
  return used.reduce((sum, ns) => sum + ns, 0) / 1e6
}

function report(samples: readonly Sample[]): void {
  mkdirSync(RESULTS, { recursive: true })
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    kernel: release(),
    loadavg: readFileSync('/proc/loadavg', 'utf8').trim(),
  }
  const run = { date: new Date().toISOString(), machine, pods: PODS, atOnce: AT_ONCE, samples }
  writeFileSync(join(RESULTS, 'attach.json'), `${JSON.stringify(run, undefined, 1)}\n`)
  const table = renderAttachTable(run)
  process.stdout.write(`${table}\n`)
  writeInto(join(import.meta.dirname, '../docs/performance.md'), table)
}

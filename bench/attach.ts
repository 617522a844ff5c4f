/**
 * Measures ADD and DEL of single pods, Tulle beside a reference chain, in one run: `npm run bench [-- PODS]`.
 *
 * The contenders take turns pod by pod, so that what else the machine does hits them alike. Wall time runs from the start of
 * the executable to its end; CPU time is that of the whole process tree, and of ipamd. Raw samples go to
 * bench/results/attach.json.
 */
import '../e2e/netns/harness/isolated.ts'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir } from 'node:os'
import { join } from 'node:path'
import { debianPlugins } from '../e2e/netns/harness/debian-plugins.ts'
import { cpuOfEndedChildrenMs } from '../e2e/netns/harness/invoke.ts'
import type { JsonObject } from '../e2e/netns/harness/json.ts'
import { Netns } from '../e2e/netns/harness/namespace.ts'
import { CniRuntime, newAttachment } from '../e2e/netns/harness/runtime.ts'
import { BIN_FOLDER, startIpamd } from '../e2e/netns/harness/tulle.ts'
import { quantile, renderTable } from './statistics.ts'

const RESULTS = join(import.meta.dirname, 'results')
const PODS = Number(process.argv[2] ?? 40)

interface Contender {
  readonly name: string
  readonly runtime: CniRuntime
}

interface Sample {
  readonly contender: string
  readonly verb: 'ADD' | 'DEL'
  readonly wallMs: number
  readonly cpuMs: number
}

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
  const contenders = await openContenders()
  const cpu = (): number => cpuOfEndedChildrenMs() + cpuOfMs(ipamd.pid)
  for (const contender of contenders) await measure(contender, cpu) // the first of each pays for cold caches
  const samples: Sample[] = []
  for (let pod = 0; pod < PODS; pod++)
    for (const contender of contenders) samples.push(...(await measure(contender, cpu)))
  report(samples)
}

async function openContenders(): Promise<readonly Contender[]> {
  const reference = await debianPlugins(folder)
  const hostLocal = {
    type: 'host-local',
    ranges: [[{ subnet: '10.245.0.0/16' }]],
    routes: [{ dst: '0.0.0.0/0' }],
    dataDir: join(folder, 'host-local'),
  }
  const open = (name: string, plugin: JsonObject, cniPath: readonly string[]): Contender => ({
    name,
    runtime: new CniRuntime({ conflist: { cniVersion: '1.0.0', name: 'bench', plugins: [plugin] }, cniPath }),
  })
  return [
    open('tulle, served', { type: 'tulle', ipam: { type: 'tulle-ipam' } }, [BIN_FOLDER]),
    open('tulle, direct', { type: 'tulle-node', ipam: { type: 'tulle-ipam' } }, [BIN_FOLDER]),
    open('ptp + host-local', { type: 'ptp', ipam: hostLocal }, reference.cniPath),
  ]
}

async function measure({ name, runtime }: Contender, cpu: () => number): Promise<readonly Sample[]> {
  await using pod = await Netns.create('bench')
  const attachment = newAttachment(pod)
  const samples: Sample[] = []
  for (const verb of ['ADD', 'DEL'] as const) {
    const before = cpu()
    const outcome = verb === 'ADD' ? await runtime.add(attachment) : await runtime.del(attachment)
    if (outcome.exitCode !== 0) throw new Error(`${name} ${verb}: ${outcome.stdout}${outcome.stderr}`)
    samples.push({ contender: name, verb, wallMs: outcome.wallMs, cpuMs: cpu() - before })
  }
  return samples
}

/** CPU time of a process that runs, in milliseconds: what its threads have used, to the nanosecond. */
function cpuOfMs(pid: number): number {
  const tasks = readdirSync(`/proc/${pid}/task`)
  const used = tasks.map(task => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]))
  return used.reduce((sum, ns) => sum + ns, 0) / 1e6
}

function report(samples: readonly Sample[]): void {
  const names = [...new Set(samples.map(sample => sample.contender))]
  const rows = [['', 'ADD p50 ms', 'p99', 'CPU mean', 'DEL p50 ms', 'p99', 'CPU mean']]
  for (const name of names) {
    const cells = (['ADD', 'DEL'] as const).flatMap(verb => {
      const own = samples.filter(sample => sample.contender === name && sample.verb === verb)
      const wall = own.map(sample => sample.wallMs)
      const cpu = own.reduce((sum, sample) => sum + sample.cpuMs, 0) / own.length
      return [quantile(wall, 0.5), quantile(wall, 0.99), cpu].map(value => value.toFixed(1))
    })
    rows.push([name, ...cells])
  }
  process.stdout.write(`${renderTable(rows)}\n`)
  mkdirSync(RESULTS, { recursive: true })
  const machine = {
    cpu: cpus()[0]?.model,
    cores: cpus().length,
    kernel: release(),
    loadavg: readFileSync('/proc/loadavg', 'utf8').trim(),
  }
  writeFileSync(
    join(RESULTS, 'attach.json'),
    `${JSON.stringify({ date: new Date().toISOString(), machine, pods: PODS, samples }, undefined, 1)}\n`,
  )
}

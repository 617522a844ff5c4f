import { accessSync, constants, readFileSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Ipamd } from '../../e2e/netns/harness/ipamd.ts'
import { Netns } from '../../e2e/netns/harness/namespace.ts'
import { newAttachment } from '../../e2e/netns/harness/runtime.ts'
import { BIN_FOLDER, startIpamd } from '../../e2e/netns/harness/tulle.ts'
import { loadAddon } from '../../native/addon.ts'
import { FLOOR, TRUE, type ContenderName } from '../report/contenders.ts'
import type { Sample, Series, Verb } from '../report/samples.ts'
import { callsOf, type Container } from './chain-calls.ts'
import type { Chain } from './contenders.ts'
import { Floor } from './floor.ts'
import type { ChainReport, JobReport, ProgramCall } from './job.ts'
import type { NodeRequest } from './node-protocol.ts'
import { runJob } from './run-job.ts'
import { measureTraffic } from './traffic.ts'

/** One plugin of a peer may take tens of seconds when 250 wait for one lock. */
const JOB_SECONDS = 120
/** Ports of the node from here on, one for each pod that asks for one. */
const FIRST_PORT = 10_000
/** So many pods are added at once until enough are standing. */
const BATCH = 25
const MAX_COMPLAINT = 500

type Open = Extract<NodeRequest, { do: 'open' }>
type Work = Exclude<NodeRequest, { do: 'open' }>

interface Pod {
  readonly netns: Netns
  readonly container: Container
}

/** The node of one contender. */
export class ContenderNode implements AsyncDisposable {
  readonly #name: ContenderName
  readonly #chain: Chain | undefined
  readonly #tools: Pick<Open, 'runner' | 'roundTrips'>
  readonly #ipamd: Ipamd | undefined
  readonly #floor: Floor | undefined
  #standing = 0
  #lastPort = FIRST_PORT

  private constructor({ contender: { name, chain }, ...tools }: Open, ipamd: Ipamd | undefined) {
    this.#name = name
    this.#chain = chain
    this.#tools = tools
    this.#ipamd = ipamd
    this.#floor = name === FLOOR ? new Floor(loadAddon(join(BIN_FOLDER, 'lib', 'tulle.node'))) : undefined
  }

  /** Starts what the contender needs to run. */
  static async open(request: Open): Promise<ContenderNode> {
    await Netns.own().run(['ip', 'link', 'set', 'lo', 'up'])
    if (request.contender.chain?.hasIpamd !== true) return new ContenderNode(request, undefined)
    const folder = join(request.folder, request.contender.name.replace(/\W+/g, '-'))
    await mkdir(folder)
    return new ContenderNode(request, await startIpamd({ folder, prefixes: ['10.244.0.0/16'] }))
  }

  async perform(request: Work): Promise<readonly Sample[]> {
    switch (request.do) {
      case 'calls':
        return await this.#calls(request)
      case 'stand':
        return await this.#stand(request.pods)
      case 'memory':
        return [this.#memory()]
      case 'traffic':
        return [await this.#traffic(request)]
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#ipamd?.kill()
  }

  async #calls(request: Extract<Work, { do: 'calls' }>): Promise<readonly Series[]> {
    if (this.#name === TRUE) return [this.#series('STATUS', request, await this.#run(trueCalls(request.pods), request))]
    const pods = await this.#makePods(request.pods, request.hasPort)
    try {
      if (this.#floor !== undefined) {
        return await this.#floor.series(
          pods.map(({ netns }) => netns),
          request.hasPort,
        )
      }
      return await this.#chainSeries(pods, request)
    } finally {
      for (const { netns } of pods) await netns.delete()
    }
  }

  async #chainSeries(pods: readonly Pod[], request: Extract<Work, { do: 'calls' }>): Promise<readonly Series[]> {
    const series: Series[] = []
    const measure = async (verb: Verb, chains: readonly (readonly ProgramCall[])[]): Promise<JobReport> => {
      const report = await this.#run(chains, request)
      series.push(this.#series(verb, request, report))
      return report
    }
    const added = await measure(
      'ADD',
      pods.map(({ container }) => callsOf('ADD', this.#context, { container })),
    )
    const after = (verb: Verb) =>
      pods.flatMap(({ container }, index) => {
        const result = resultOf(added.chains[index])
        // Of one that failed: DEL without a result, as a runtime does; there is nothing to check.
        if (result === undefined) return verb === 'DEL' ? [callsOf(verb, this.#context, { container })] : []
        return [callsOf(verb, this.#context, { container, result })]
      })
    const checks = after('CHECK')
    if (!request.isAtOnce && checks.length > 0) await measure('CHECK', checks)
    await measure('DEL', after('DEL'))
    if (!request.isAtOnce && !request.hasPort && this.#context.cniVersion === '1.1.0')
      await measure(
        'STATUS',
        pods.map(() => callsOf('STATUS', this.#context)),
      )
    return series
  }

  async #stand(pods: number): Promise<readonly Sample[]> {
    while (this.#standing < pods) {
      const more = await this.#makePods(Math.min(BATCH, pods - this.#standing), false)
      await this.#add(more)
      this.#standing += more.length
    }
    return []
  }

  #memory(): Sample {
    if (this.#ipamd === undefined) throw new Error(`${this.#name} has no ipamd`)
    const rollup = readFileSync(`/proc/${this.#ipamd.pid}/smaps_rollup`, 'utf8')
    const kib = (key: string): number => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(rollup)?.[1])
    return { kind: 'memory', pods: this.#standing, residentKib: kib('Rss'), proportionalKib: kib('Pss') }
  }

  async #traffic({ seconds, iperf3 }: Extract<Work, { do: 'traffic' }>): Promise<Sample> {
    const pods = await this.#makePods(2, false)
    const results = await this.#add(pods)
    const [from, to] = pods
    const address = /"address"\s*:\s*"([\d.]+)\/\d+"/.exec(results[1] ?? '')?.[1]
    if (from === undefined || to === undefined || address === undefined)
      throw new Error(`no address in ${String(results[1])}`)
    try {
      const { roundTrips } = this.#tools
      const measured = await measureTraffic({ from: from.netns, to: to.netns, address, seconds, iperf3, roundTrips })
      return { kind: 'traffic', contender: this.#name, ...measured }
    } finally {
      const calls = pods.map(({ container }, index) => {
        const result = results[index]
        return callsOf('DEL', this.#context, { container, ...(result !== undefined && { result }) })
      })
      await this.#run(calls, { isAtOnce: false })
      for (const { netns } of pods) await netns.delete()
    }
  }

  /** @returns their results. @throws {Error} when one cannot be added. */
  async #add(pods: readonly Pod[]): Promise<readonly string[]> {
    const calls = pods.map(({ container }) => callsOf('ADD', this.#context, { container }))
    const { chains } = await this.#run(calls, { isAtOnce: true })
    return chains.map(chain => {
      const result = resultOf(chain)
      if (result === undefined) throw new Error(`${this.#name} ADD: ${complaintOf(chain)}`)
      return result
    })
  }

  async #makePods(count: number, hasPort: boolean): Promise<readonly Pod[]> {
    const pods: Pod[] = []
    for (let made = 0; made < count; made++) {
      const netns = await Netns.create('bench')
      const { containerId: id, netnsPath, ifName } = newAttachment(netns)
      const portMappings = [{ hostPort: this.#nextPort(), containerPort: 80, protocol: 'tcp' }]
      pods.push({ netns, container: { id, netnsPath, ifName, capabilities: hasPort ? { portMappings } : {} } })
    }
    return pods
  }

  /** Round and round, far below the ports from which clients connect. */
  #nextPort(): number {
    this.#lastPort = FIRST_PORT + ((this.#lastPort + 1 - FIRST_PORT) % 20_000)
    return this.#lastPort
  }

  async #run(
    chains: readonly (readonly ProgramCall[])[],
    { isAtOnce }: { readonly isAtOnce: boolean },
  ): Promise<JobReport> {
    const daemon = this.#ipamd === undefined ? {} : { daemonPid: this.#ipamd.pid }
    return await runJob(this.#tools.runner, { isAtOnce, timeoutSeconds: JOB_SECONDS, chains, ...daemon })
  }

  get #context() {
    if (this.#chain === undefined) throw new Error(`${this.#name} has no plugins`)
    const { cniPath } = this.#chain
    return { ...this.#chain, find: (type: string) => findExecutable(type, cniPath) }
  }

  #series(verb: Verb, request: Extract<Work, { do: 'calls' }>, report: JobReport): Series {
    const failed = report.chains.filter(isFailure)
    const [first] = failed
    return {
      kind: 'calls',
      contender: this.#name,
      verb,
      hasPort: request.hasPort,
      standing: this.#standing,
      atOnce: request.isAtOnce ? request.pods : 1,
      wallMs: report.chains.map(({ wallMs }) => wallMs),
      cpuMs: report.chains.map(({ cpuMs }) => cpuMs),
      wholeMs: report.wholeMs,
      daemonCpuMs: report.daemonCpuMs,
      residentKib: Math.max(...report.chains.flatMap(({ calls }) => calls.map(({ residentKib }) => residentKib))),
      failed: failed.length,
      ...(first !== undefined && { failure: complaintOf(first) }),
    }
  }
}

function trueCalls(count: number): readonly (readonly ProgramCall[])[] {
  return Array.from({ length: count }, () => [{ executable: '/bin/true', env: [], stdin: '' }])
}

function isFailure({ calls }: ChainReport): boolean {
  return calls.at(-1)?.exitCode !== 0
}

function complaintOf(chain: ChainReport | undefined): string {
  const last = chain?.calls.at(-1)
  return `exit code ${last?.exitCode}: ${(last?.stdout ?? '').trim().slice(0, MAX_COMPLAINT)}`
}

/** What ADD ended with; undefined when it failed. */
function resultOf(chain: ChainReport | undefined): string | undefined {
  return chain === undefined || isFailure(chain) ? undefined : chain.calls.at(-1)?.stdout
}

/** @throws {Error} naming `type` when no folder has it. */
function findExecutable(type: string, cniPath: readonly string[]): string {
  for (const folder of cniPath) {
    const path = join(folder, type)
    try {
      accessSync(path, constants.X_OK)
      return path
    } catch (cause) {
      if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw cause
    }
  }
  throw new Error(`Cannot find plugin ${JSON.stringify(type)} in ${cniPath.join(':')}`)
}

import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { Declined, type Ipam } from '../../lib/attach/edges.ts'
import { handle } from '../../lib/attach/handle.ts'
import { failed, type Outcome } from '../../lib/attach/plugin-run.ts'
import { CniError, ErrorCode } from '../../lib/cni/errors.ts'
import { IpamProblem } from '../../lib/ipam/errors.ts'
import { traceContextOfEnv } from '../../lib/ipam/trace-context.ts'
import { KernelHost } from '../../lib/kernel/kernel-host.ts'
import { decodeStdin } from '../../lib/os/stdin.ts'
import { Deadline } from '../../lib/time/deadline.ts'
import type { NativeAddon } from '../../native/addon.ts'
import type { Log } from '../../lib/log/json-log.ts'
import { AttachmentTurns } from './attachment-turns.ts'
import { isSameFile, parseCniRequest, type CniRequest, type FileIdentity } from './cni-request.ts'
import { Gate } from './gate.ts'
import { servedEdges, type ServedHost } from './served-edges.ts'

/** What serving the plugin needs of the world. */
export interface CniServerEdges {
  readonly addon: NativeAddon
  readonly ipam: Ipam
  readonly socketPath: string
  /** The socket beside which all hosts of the engine keep their locks. */
  readonly lockSocketPath: string
  readonly nowUnixMs: () => number
  /** The monotonic clock that all processes of the machine share, in milliseconds. */
  readonly monotonicMs: () => number
  readonly log: Log
  readonly counters: CniCounters
}

/** What is counted of served calls. */
export interface CniCounters {
  countServed(call: { readonly command: string; readonly exitCode: number; readonly tookMs: number }): void
  countDeclined(reason: string): void
}

/** How many calls there are. */
export interface CniLoad {
  readonly atWork: number
  readonly waiting: number
}

/** Beyond this, a caller is told to come back: as many as a full node's pods that all start at once, twice. */
const MAX_CALLS = 512
/** More at once would only make each of them slower; deletions wait for the kernel, most of the time. */
const MAX_AT_WORK = { adding: 16, deleting: 128 } as const
/** A launcher waits less than this. A deadline further away is of another clock: of a time namespace, say. */
const MAX_WAIT_MS = 60_000

const COMMANDS: ReadonlySet<string> = new Set(['ADD', 'DEL', 'CHECK', 'GC', 'STATUS', 'VERSION'])

/** Does calls of the CNI plugin in the daemon, with the same engine as the executable (DESIGN: one engine, two hosts). */
export class CniServer {
  readonly #edges: CniServerEdges
  readonly #host: ServedHost
  readonly #kernels: KernelHost
  readonly #adding = new Gate(MAX_AT_WORK.adding)
  readonly #deleting = new Gate(MAX_AT_WORK.deleting)
  readonly #calls = new Set<Promise<Outcome>>()
  #isDraining = false

  constructor(edges: CniServerEdges) {
    this.#edges = edges
    this.#kernels = new KernelHost(edges.addon)
    this.#host = { ...edges, kernels: this.#kernels, turns: new AttachmentTurns() }
  }

  get load(): CniLoad {
    const waiting = this.#adding.waiting + this.#deleting.waiting
    return { atWork: this.#calls.size - waiting, waiting }
  }

  /**
   * Does one call.
   *
   * @param rawHeaders names and values in turn.
   * @throws {IpamProblem} declined, or {ParseError}: nothing was changed, and the plugin has to do it itself.
   */
  async serve(rawHeaders: readonly string[], body: Buffer): Promise<Outcome> {
    const startedAtMs = this.#edges.monotonicMs()
    const request = parseCniRequest(rawHeaders)
    const command = request.env['CNI_COMMAND'] ?? ''
    try {
      this.#refuseStrangers(request)
      const call = this.#perform(request, body)
      this.#calls.add(call)
      const outcome = await call.finally(() => this.#calls.delete(call))
      const tookMs = this.#edges.monotonicMs() - startedAtMs
      this.#edges.counters.countServed({ command: known(command), exitCode: outcome.exitCode, tookMs })
      const { exitCode } = outcome
      // Who follows a trace has to find it here as well: a call that is served makes no request (E11).
      if (traceContextOfEnv(request.env).traceparent !== undefined)
        this.#log(`served, exit code ${exitCode}`, request.env)
      return outcome
    } catch (failure) {
      if (!(failure instanceof Declined)) throw failure
      this.#edges.counters.countDeclined(failure.reason)
      throw new IpamProblem('declined', failure.message, { members: { reason: failure.reason }, cause: failure })
    }
  }

  /** Declines every call from now on. */
  drain(): void {
    this.#isDraining = true
  }

  /** Declines from now on. Resolves when the calls at work have ended. */
  async close(): Promise<void> {
    this.drain()
    await Promise.allSettled(this.#calls)
    this.#kernels[Symbol.dispose]()
  }

  /** Only a call from this very node, with these very locks, is this daemon's to do. */
  #refuseStrangers({ hostNetns, runFolder }: CniRequest): void {
    if (this.#isDraining) throw new Declined('draining', 'the daemon is about to stop')
    if (!isSameFile(hostNetns, this.#kernels.ownNetns))
      throw new Declined('other-node', 'the plugin runs in another network namespace than the daemon')
    if (!isSameFile(runFolder, identityOf(dirname(this.#host.lockSocketPath))))
      throw new Declined('other-locks', `${dirname(this.#host.lockSocketPath)} is another folder to the plugin`)
  }

  async #perform(request: CniRequest, body: Buffer): Promise<Outcome> {
    const { env } = request
    const leftMs = request.deadlineMonotonicMs - this.#edges.monotonicMs()
    if (leftMs <= 0) throw new Declined('late', 'the call came after its deadline')
    if (leftMs > MAX_WAIT_MS) throw new Declined('other-clock', 'the plugin has another clock than the daemon')
    if (this.#calls.size >= MAX_CALLS) return this.#turnAway(body)
    const by = Deadline.in(leftMs)
    const edges = servedEdges(this.#host, { podNetns: request.podNetns, log: line => this.#log(line, env) })
    const run = () => handle({ env, readStdin: () => decodeStdin(body), by }, edges)
    const outcome = await this.#runInTurn(env['CNI_COMMAND'], { run, by, body })
    // At its deadline the launcher stops waiting, and the plugin begins anew with time of its own: a failure for want of time must
    // not come just before that and be taken for the answer.
    if (outcome.exitCode !== 0 && by.isPast()) throw new Declined('late', 'the call was not done by its deadline')
    return outcome
  }

  #runInTurn(command: string | undefined, call: Waiting): Promise<Outcome> {
    switch (command) {
      case 'ADD':
      case 'CHECK':
      case 'GC':
        return inTurn(this.#adding, call)
      case 'DEL':
        return inTurn(this.#deleting, call)
      default:
        return call.run()
    }
  }

  #turnAway(body: Buffer): Outcome {
    const { atWork, waiting } = this.load
    const depth = `${atWork} calls at work, ${waiting} waiting`
    return failed(new CniError(ErrorCode.tryAgainLater, `ipamd has too much to do: ${depth}`), body.toString())
  }

  #log(line: string, env: CniRequest['env']): void {
    const { CNI_COMMAND: command, CNI_CONTAINERID: containerId } = env
    const { traceparent, tracestate } = traceContextOfEnv(env)
    this.#edges.log.info(line, { command, containerId, traceparent, tracestate })
  }
}

interface Waiting {
  readonly run: () => Promise<Outcome>
  readonly by: Deadline
  readonly body: Buffer
}

/** A call that did not get its turn in time is one that failed: whoever asked has gone. */
async function inTurn(gate: Gate, { run, by, body }: Waiting): Promise<Outcome> {
  try {
    return await gate.pass(run, by)
  } catch (failure) {
    if (failure instanceof Declined) throw failure
    return failed(failure, body.toString())
  }
}

function identityOf(path: string): FileIdentity | undefined {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false })
  return stats === undefined ? undefined : { device: stats.dev, inode: stats.ino }
}

/** A verb as a label: what strangers make up must not fill the memory. */
function known(command: string): string {
  return COMMANDS.has(command) ? command : 'other'
}

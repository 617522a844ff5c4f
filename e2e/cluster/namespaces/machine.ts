import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { open } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { join } from 'node:path'
import { runCommand } from '../../parts/command.ts'
import type { Command } from '../../parts/command.ts'
import { until } from '../until.ts'
import { onlyChildOf } from './processes.ts'

const INIT_SCRIPT = join(import.meta.dirname, 'machine-init.sh')
const START_MS = 10_000
/** Killing hundreds of processes and removing their cgroups and files, on a busy machine. */
const STOP_MS = 60_000

/** Where a process is to run: numbers of processes, as this process sees them, whose namespaces are entered. */
export interface Place {
  readonly machinePid: number
  /** The process whose network namespace it is; the machine's own, the router, when absent. */
  readonly networkPid?: number
}

/**
 * The machine on which a cluster runs: namespaces inside of which all of its processes live.
 *
 * It ends, and takes everything along, when `stop()` is called or when this process ends in whatever way.
 */
export class Machine implements AsyncDisposable {
  /** Its process 1, as this process sees it. */
  readonly pid: number
  readonly #unshare: ChildProcess
  readonly #complaint: () => string

  private constructor(unshare: ChildProcess, pid: number, complaint: () => string) {
    this.#unshare = unshare
    this.pid = pid
    this.#complaint = complaint
  }

  /**
   * @param cgroup its name below every hierarchy; removed with the machine.
   * @param stateFolder removed with the machine.
   * @throws {Error} with what unshare or bash said.
   */
  static async start(cgroup: string, stateFolder: string): Promise<Machine> {
    const namespaces = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
    // A session of its own: Ctrl-C in a terminal ends us, and our end ends the machine.
    const child = spawn('unshare', [...namespaces, 'bash', INIT_SCRIPT, cgroup, stateFolder], {
      stdio: 'pipe',
      detached: true,
    })
    await once(child, 'spawn')
    let complaint = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
    const line = await firstLine(child)
    if (line !== 'ready' || child.pid === undefined) {
      child.kill('SIGKILL')
      throw new Error(`Cannot make a machine of namespaces: ${complaint.trim() || `no "ready" in ${START_MS} ms`}`)
    }
    const pid = await onlyChildOf(child.pid)
    if (pid === undefined) throw new Error('the machine has ended early')
    return new Machine(child, pid, () => complaint)
  }

  /** Ends everything in it; returns when all is gone. */
  async stop(): Promise<void> {
    if (this.#unshare.exitCode !== null || this.#unshare.signalCode !== null) return
    const exited = once(this.#unshare, 'exit', { signal: AbortSignal.timeout(STOP_MS) })
    this.#unshare.stdin?.end()
    const [exitCode] = (await exited) as [number | null]
    if (exitCode !== 0) throw new Error(`the machine did not end well: ${this.#complaint()}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}

/** Starts a process of the machine that outlives this one and ends with the machine. @returns the number of its nsenter. */
export async function startDetached(
  place: Place,
  command: Command,
  options: { readonly env: Readonly<Record<string, string>>; readonly logFile: string },
): Promise<number> {
  const log = await open(options.logFile, 'a')
  try {
    const child = spawn('nsenter', [...enter(place), '--', ...command], {
      env: options.env,
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
    })
    await once(child, 'spawn')
    child.unref()
    if (child.pid === undefined) throw new Error('a process that was spawned has no number')
    return child.pid
  } finally {
    await log.close()
  }
}

/** Runs ip(8) on lines of commands, in the network namespace of a process. The files that they name are this process's. */
export async function ipBatch(networkPid: number, batch: string): Promise<void> {
  await runCommand(['nsenter', `--net=/proc/${networkPid}/ns/net`, 'ip', '-batch', '-'], { stdin: batch })
}

/** A network namespace with a process that does nothing but hold it. @returns the number of that process. */
export async function startHost(machinePid: number, logFile: string): Promise<number> {
  const command: Command = ['unshare', '--net', '--fork', '--kill-child', 'sleep', 'infinity']
  const nsenterPid = await startDetached({ machinePid }, command, { env: { PATH: SYSTEM_PATH }, logFile })
  return await until('a host of its own', async () => {
    const unsharePid = await onlyChildOf(nsenterPid)
    return unsharePid === undefined ? undefined : await onlyChildOf(unsharePid)
  })
}

export const SYSTEM_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

function enter({ machinePid, networkPid }: Place): readonly string[] {
  const machine = `/proc/${machinePid}/ns`
  return [
    `--mount=${machine}/mnt`,
    `--net=/proc/${networkPid ?? machinePid}/ns/net`,
    `--pid=${machine}/pid`,
    '--wdns=/',
  ]
}

/** The first line of the child's stdout; undefined when it ends or START_MS pass without one. */
async function firstLine(child: ChildProcess): Promise<string | undefined> {
  if (child.stdout === null) throw new Error('stdout of the machine is not a pipe')
  const lines = createInterface({ input: child.stdout, signal: AbortSignal.timeout(START_MS) })
  for await (const line of lines) return line
  return undefined
}

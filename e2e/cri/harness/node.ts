import { execFile, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { unless } from './errno.ts'
import { Service } from './service.ts'

const run = promisify(execFile)

const INIT_SCRIPT = join(import.meta.dirname, 'node-init.sh')
const START_MS = 10_000
const STOP_MS = 10_000
const EXEC_MS = 20_000
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024

/** A process may end between being listed and being read. */
const gone = unless('ENOENT', 'ESRCH')

/** One process of the node, by its number in the node's pid namespace. */
export interface NodeProcess {
  readonly pid: number
  readonly name: string
}

interface NodeFacts {
  readonly unsharePid: number
  readonly snapshotter: string
  readonly cgroup: string
  /** What process 1 wrote to stderr so far. */
  readonly complaint: () => string
}

/**
 * A node for tests: net, mount and pid namespaces of its own, with a private /run and /var/lib and an uplink.
 *
 * Everything in it dies with its process 1, which ends the node when this process closes its stdin or is killed: a crashed
 * test leaves no process, mount, link, file or cgroup of the node behind.
 */
export class TestNode implements AsyncDisposable {
  /** The containerd snapshotter that works here: 'overlayfs', or 'native' where overlay mounts are refused. */
  readonly snapshotter: string
  /** The name of a cgroup, below the root of every hierarchy, that goes with the node. Who needs it makes it. */
  readonly cgroup: string
  readonly #unshare: ChildProcess
  readonly #unsharePid: number
  readonly #complaint: () => string

  constructor(unshare: ChildProcess, facts: NodeFacts) {
    this.#unshare = unshare
    this.#unsharePid = facts.unsharePid
    this.snapshotter = facts.snapshotter
    this.cgroup = facts.cgroup
    this.#complaint = facts.complaint
  }

  /** Where the absolute `path` of the node is found from outside its mount namespace. Sockets work through it too. */
  pathOf(path: string): string {
    return join(`/proc/${String(this.#unsharePid)}/root`, path)
  }

  /**
   * Runs a command in the node until it ends.
   *
   * @returns its stdout.
   * @throws {Error} with the command and its stderr when it fails or takes more than 20 s.
   */
  async exec(...command: readonly string[]): Promise<string> {
    const { stdout } = await run('nsenter', [...this.#enter(), ...command], {
      timeout: EXEC_MS,
      maxBuffer: MAX_OUTPUT_BYTES,
    })
    return stdout
  }

  /** Starts a daemon in the node. It does not wait for it to be useful. */
  start(command: readonly string[], env: NodeJS.ProcessEnv): Service {
    const child = spawn('nsenter', [...this.#enter(), ...command], { env, stdio: ['ignore', 'pipe', 'pipe'] })
    return new Service(child, command.join(' '))
  }

  /** Every process of the node and of the pid namespaces in it, except its process 1. */
  async processes(): Promise<readonly NodeProcess[]> {
    const found: NodeProcess[] = []
    // This is the proc file system of the node's pid namespace: it lists nobody else.
    for (const entry of await readdir(this.pathOf('/proc'))) {
      if (!/^\d+$/.test(entry) || entry === '1') continue
      const name = await readFile(this.pathOf(`/proc/${entry}/comm`), 'utf8').catch(gone)
      if (name !== undefined) found.push({ pid: Number(entry), name: name.trim() })
    }
    return found
  }

  /** Ends the node and all that is in it; returns when all of it is gone. */
  async stop(): Promise<void> {
    if (this.#unshare.exitCode !== null || this.#unshare.signalCode !== null) return
    const exited = once(this.#unshare, 'exit', { signal: AbortSignal.timeout(STOP_MS) })
    this.#unshare.stdin?.end()
    // The kernel lets process 1 of a pid namespace end only after every other process in it was killed and reaped.
    const [exitCode] = (await exited) as [number | null]
    if (exitCode !== 0) throw new Error(`the test node did not end well: ${this.#complaint()}`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  #enter(): readonly string[] {
    const ns = `/proc/${String(this.#unsharePid)}/ns`
    return [`--mount=${ns}/mnt`, `--net=${ns}/net`, `--pid=${ns}/pid_for_children`, '--']
  }
}

/**
 * Makes a node.
 *
 * @throws {Error} with what bash or unshare said when this machine refuses one of the namespaces or mounts.
 */
export async function startNode(): Promise<TestNode> {
  const cgroup = `tulle-cri-${randomUUID()}`
  const namespaces = ['--mount', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
  // A session of its own: Ctrl-C in a terminal ends the test, and the end of the test ends the node.
  const child = spawn('unshare', [...namespaces, 'bash', INIT_SCRIPT, cgroup], { stdio: 'pipe', detached: true })
  await once(child, 'spawn')
  let complaint = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => (complaint += text))
  const line = await firstLine(child)
  const snapshotter = /^ready (\w+)$/.exec(line ?? '')?.[1]
  if (snapshotter === undefined || child.pid === undefined) {
    child.kill('SIGKILL')
    throw new Error(`Cannot make a test node: ${complaint.trim() || `no "ready" within ${String(START_MS)} ms`}`)
  }
  return new TestNode(child, { unsharePid: child.pid, snapshotter, cgroup, complaint: () => complaint })
}

/** The first line of the child's stdout; undefined when it ends or START_MS pass without one. */
async function firstLine(child: ChildProcess): Promise<string | undefined> {
  if (child.stdout === null) throw new Error('stdout of the node is not a pipe')
  const lines = createInterface({ input: child.stdout, signal: AbortSignal.timeout(START_MS) })
  for await (const line of lines) return line
  return undefined
}

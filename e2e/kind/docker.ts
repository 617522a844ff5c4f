import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createWriteStream } from 'node:fs'
import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ChildProcess } from 'node:child_process'
import { assertIsolated } from '../netns/harness/isolation.ts'
import { runCommand } from '../parts/command.ts'
import { debianParts } from '../parts/debian.ts'
import { linkIptables } from '../parts/iptables.ts'
import { containerdParts } from '../parts/kubernetes.ts'
import { until } from '../cluster/until.ts'
import type { Command } from '../parts/command.ts'

/** The oldest release whose dockerd runs a privileged container on a machine with cgroup v1 and a new kernel. */
const DOCKER_SUITE = 'trixie'
const START_MS = 60_000
const STOP_MS = 60_000
/** Of nodes with a hundred pods. */
const CONTAINERS_MS = 240_000

/** A Docker engine that nobody else sees: its own files, its own socket, and the network namespace of this process. */
export class PrivateDocker implements AsyncDisposable {
  /** What docker, kind and kubectl need in their environment beside that of this process. */
  readonly ownEnv: Readonly<Record<string, string>>
  readonly #daemon: ChildProcess
  readonly #logFile: string

  constructor(
    daemon: ChildProcess,
    { ownEnv, logFile }: { ownEnv: Readonly<Record<string, string>>; logFile: string },
  ) {
    this.#daemon = daemon
    this.ownEnv = ownEnv
    this.#logFile = logFile
  }

  /** The whole environment in which docker and kind are to be executed. */
  get env(): Readonly<Record<string, string | undefined>> {
    return { ...process.env, ...this.ownEnv }
  }

  /** Runs `docker`. @returns its stdout. @throws {CommandError} */
  async docker(args: readonly string[], timeoutMs = 120_000): Promise<string> {
    return await runCommand(['docker', ...args] as Command, { env: this.env, timeoutMs })
  }

  /** The end of what the daemon wrote, for the message of a failure. */
  async log(): Promise<string> {
    return (await readFile(this.#logFile, 'utf8')).slice(-8_000)
  }

  /** True when the daemon has ended. */
  get isOver(): boolean {
    return this.#daemon.exitCode !== null || this.#daemon.signalCode !== null
  }

  /**
   * Ends every container, then the daemon.
   *
   * The daemon would end them too, but what does not end in its time it leaves running, with nobody left who could end it.
   *
   * @throws {Error} when a container does not end; the daemon is gone then too.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isOver) return
    try {
      await until('the end of all containers', async () => this.#hasNoContainer(), CONTAINERS_MS)
    } finally {
      const exited = once(this.#daemon, 'exit', { signal: AbortSignal.timeout(STOP_MS) })
      this.#daemon.kill('SIGTERM')
      await exited.catch(() => this.#daemon.kill('SIGKILL'))
    }
  }

  /** Removes all containers. @returns true when there was none. */
  async #hasNoContainer(): Promise<boolean> {
    const ids = (await this.docker(['ps', '--all', '--quiet'])).split('\n').filter(id => id !== '')
    if (ids.length > 0) await this.docker(['rm', '--force', '--volumes', ...ids])
    return ids.length === 0
  }
}

/**
 * Starts dockerd below `folder` and waits until it answers.
 *
 * The process has to be isolated: dockerd changes the network that it runs in.
 *
 * @throws {Error} with the daemon's log.
 */
export async function startDocker(folder: string): Promise<PrivateDocker> {
  assertIsolated('a Docker engine')
  const bin = join(folder, 'bin')
  await mkdir(bin, { recursive: true })
  const libraries = await linkPrograms(bin)
  const socket = join(folder, 'docker.sock')
  const ownEnv = {
    ...libraries,
    PATH: `${bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`,
    DOCKER_HOST: `unix://${socket}`,
    HOME: folder,
  }
  await writeFile(join(folder, 'daemon.json'), '{}')
  const logFile = join(folder, 'dockerd.log')
  const places = [`--data-root=${folder}/data`, `--exec-root=${folder}/exec`, `--pidfile=${folder}/dockerd.pid`]
  const daemon = spawn('dockerd', [...places, `--config-file=${folder}/daemon.json`, `--host=unix://${socket}`], {
    env: { ...process.env, ...ownEnv },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const log = createWriteStream(logFile)
  daemon.stdout.pipe(log, { end: false })
  daemon.stderr.pipe(log, { end: false })
  await once(daemon, 'spawn')
  const docker = new PrivateDocker(daemon, { ownEnv, logFile })
  try {
    await until(
      'dockerd to answer',
      async () => {
        if (docker.isOver) throw new Error('it has ended')
        return await docker.docker(['version', '--format', '{{.Server.Version}}'], 5_000).catch(() => undefined)
      },
      START_MS,
    )
  } catch (cause) {
    await docker[Symbol.asyncDispose]()
    throw new Error(`dockerd does not run here: ${String(cause)}\n${await docker.log()}`, { cause })
  }
  return docker
}

async function linkPrograms(bin: string): Promise<Record<string, string>> {
  const docker = await debianParts(['docker.io', 'docker-cli'], { suite: DOCKER_SUITE })
  const runtime = await debianParts(['runc', 'libseccomp2'])
  for (const name of ['usr/bin/docker', 'usr/bin/docker-init', 'usr/sbin/dockerd', 'usr/sbin/docker-proxy']) {
    await symlink(join(docker, name), join(bin, name.slice(name.lastIndexOf('/') + 1)))
  }
  await symlink(join(runtime, 'usr/sbin/runc'), join(bin, 'runc'))
  const { containerd, ctr, shim } = await containerdParts()
  for (const file of [containerd, ctr, shim]) await symlink(file, join(bin, file.slice(file.lastIndexOf('/') + 1)))
  const { LD_LIBRARY_PATH, XTABLES_LIBDIR } = await linkIptables(bin)
  return { LD_LIBRARY_PATH, XTABLES_LIBDIR }
}

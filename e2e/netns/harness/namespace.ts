import { randomBytes } from 'node:crypto'
import {
  type Command,
  type CommandOptions,
  type CommandOutcome,
  CommandError,
  execute,
  runCommand,
} from '../../parts/command.ts'
import { assertIsolated } from './isolation.ts'

/** A command inside a test namespace ends within this time unless the test says otherwise. */
const COMMAND_TIMEOUT_MS = 20_000

export interface NetnsOptions {
  /** Whether lo is up, as in a node. The default is down, as a container runtime hands a namespace to a plugin. */
  readonly isLoopbackUp?: boolean
}

/**
 * A network namespace of a test: a pod, or a host outside.
 *
 * `await using pod = await Netns.create('pod')` makes one under /run/netns and deletes it at the end of the block. Nothing can be
 * left on the machine whatever happens to the test: /run/netns lives in the mount namespace of the isolated process.
 */
export class Netns implements AsyncDisposable {
  readonly name: string
  readonly path: string
  readonly #isOwn: boolean

  private constructor(name: string, path: string) {
    this.name = name
    this.path = path
    this.#isOwn = !path.startsWith('/run/netns/')
  }

  /** Makes a namespace named `<prefix>-<random>`. */
  static async create(prefix: string, options: NetnsOptions = {}): Promise<Netns> {
    assertIsolated('Netns.create()')
    const name = `${prefix}-${randomBytes(4).toString('hex')}`
    await runCommand(['ip', 'netns', 'add', name])
    const netns = new Netns(name, `/run/netns/${name}`)
    if (options.isLoopbackUp === true) await netns.run(['ip', 'link', 'set', 'lo', 'up'])
    return netns
  }

  /** The namespace of this process: the node, as far as plugins and daemons that it starts can see. */
  static own(): Netns {
    assertIsolated('Netns.own()')
    return new Netns('node', `/proc/${process.pid}/ns/net`)
  }

  /** How iproute2 is told this namespace after `netns`: its name, or a pid. */
  get iproute2Name(): string {
    return this.#isOwn ? String(process.pid) : this.name
  }

  /** `command` as it has to be started to run inside. */
  command(command: Command): Command {
    return this.#isOwn ? command : ['nsenter', `--net=${this.path}`, '--', ...command]
  }

  /**
   * Runs a command inside and returns its stdout.
   *
   * @throws {CommandError} unless it exits with 0.
   */
  async run(command: Command, options: CommandOptions = {}): Promise<string> {
    const outcome = await this.execute(command, options)
    if (outcome.exitCode !== 0) throw new CommandError(['in', this.name, ...command], outcome)
    return outcome.stdout
  }

  /** Runs a command inside and reports how it ended, whatever its exit code. */
  async execute(command: Command, options: CommandOptions = {}): Promise<CommandOutcome> {
    return await execute(this.command(command), { timeoutMs: COMMAND_TIMEOUT_MS, ...options })
  }

  /** Sets a sysctl of this namespace by its path below /proc/sys: `net/ipv4/ip_forward`. */
  async writeSysctl(key: string, value: string): Promise<void> {
    await this.run(['tee', `/proc/sys/${key}`], { stdin: value })
  }

  /** Deletes the namespace and with it every interface inside; quiet when that was done before. */
  async delete(): Promise<void> {
    if (this.#isOwn) return
    const names = await runCommand(['ip', 'netns', 'list'])
    if (names.split('\n').some(line => line.split(' ')[0] === this.name))
      await runCommand(['ip', 'netns', 'delete', this.name])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.delete()
  }
}

import { utimes, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { createConnection } from 'node:net'
import { Background, type Ending } from './background.ts'
import type { Command } from '../../parts/command.ts'
import { type JsonObject, asObject, asString } from './json.ts'
import type { Netns } from './namespace.ts'

/** ipamd has to end this soon after SIGTERM: the issue says under a second; a loaded machine gets some more. */
const STOP_TIMEOUT_MS = 3_000

export interface IpamdOptions {
  readonly executable: string
  /** The content of the configuration file. */
  readonly config: JsonObject
  /** Where the configuration file is written. */
  readonly configFile: string
  /** Where ipamd runs; in the node (this process) when absent. */
  readonly netns?: Netns
  /** How long it may take until it accepts connections, and until it is gone when it is killed; 10,000 and 5,000 when absent. */
  readonly limitMs?: number
}

/** An ipamd of a test, which answers on its socket. */
export class Ipamd implements AsyncDisposable {
  readonly socketPath: string
  readonly #process: Background
  readonly #limitMs: number | undefined

  private constructor(socketPath: string, process: Background, limitMs: number | undefined) {
    this.socketPath = socketPath
    this.#process = process
    this.#limitMs = limitMs
  }

  /**
   * Writes the configuration, starts ipamd and waits until it accepts connections.
   *
   * @throws {Error} with its log, when it ends before, or is not ready in time.
   */
  static async start({ executable, config, configFile, netns, limitMs }: IpamdOptions): Promise<Ipamd> {
    const socketPath = asString(config['socket'], 'config.socket')
    await writeFile(configFile, JSON.stringify(config, null, 2))
    const command: Command = [executable, '--config', configFile]
    const process = Background.start(netns?.command(command) ?? command)
    try {
      await process.until(`${socketPath} accepts connections`, () => accepts(socketPath), limitMs)
    } catch (cause) {
      await process.kill()
      throw cause
    }
    return new Ipamd(socketPath, process, limitMs)
  }

  get pid(): number {
    return this.#process.pid
  }

  /** Its log so far, a line each. */
  get log(): readonly string[] {
    return this.#process.lines
  }

  /** Ends it in order, as a service manager would that does not start another one. */
  async stop(): Promise<Ending> {
    return await this.#awayForLong(await this.#process.stop('SIGTERM', STOP_TIMEOUT_MS))
  }

  /** Ends it as a crash would. */
  async kill(): Promise<Ending> {
    return await this.#awayForLong(await this.#process.kill(this.#limitMs))
  }

  /** The launcher waits for a daemon that was there a moment ago: here nobody is to. */
  async #awayForLong(ending: Ending): Promise<Ending> {
    await utimes(`${this.socketPath}.lock`, 0, 0).catch((cause: unknown) => {
      if (!(cause instanceof Error && 'code' in cause && cause.code === 'ENOENT')) throw cause
    })
    return ending
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }

  /**
   * Asks the API.
   *
   * @throws {Error} with the whole answer, unless it is 200 with a JSON object.
   */
  async get(path: string): Promise<JsonObject> {
    return asObject(JSON.parse(await this.text(path)), `GET ${path}`)
  }

  /** Asks the API for what is no JSON. @throws {Error} with the whole answer, unless it is 200. */
  async text(path: string): Promise<string> {
    const { status, body } = await httpGet(this.socketPath, path)
    if (status !== 200) throw new Error(`GET ${path}: ${status} ${body}`)
    return body
  }
}

function accepts(socketPath: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const socket = createConnection(socketPath)
  socket.on('connect', () => {
    socket.destroy()
    resolve(true)
  })
  socket.on('error', () => resolve(false))
  return promise
}

function httpGet(socketPath: string, path: string): Promise<{ readonly status: number; readonly body: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ readonly status: number; readonly body: string }>()
  const sent = request({ socketPath, path, timeout: 5_000, headers: { connection: 'close' } }, response => {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => chunks.push(chunk))
    response.on('error', reject)
    response.on('end', () =>
      resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
    )
  })
  sent.on('timeout', () => sent.destroy(new Error(`GET ${path} on ${socketPath}: no answer in 5 s`)))
  sent.on('error', reject)
  sent.end()
  return promise
}

import { Background } from './background.ts'
import type { Netns } from './namespace.ts'

export interface CaptureOptions {
  /** All interfaces, also those that come later, when absent. */
  readonly ifName?: string
  /** pcap-filter(7) expression, a word each; everything when absent. */
  readonly filter?: readonly string[]
}

/** Packets as tcpdump(8) sees them in a namespace, each a line of text. They are seen before any rule can drop them. */
export class Capture implements AsyncDisposable {
  readonly #process: Background

  private constructor(process: Background) {
    this.#process = process
  }

  /** Starts capturing, and returns when no packet can be missed any more. */
  static async start(netns: Netns, options: CaptureOptions = {}): Promise<Capture> {
    const process = Background.start(
      netns.command([
        ...(['tcpdump', '-n', '-t', '-l', '--immediate-mode', '-Z', 'root', '-i'] as const),
        options.ifName ?? 'any',
        ...(options.filter ?? []),
      ]),
    )
    try {
      await process.until('it captures', () => process.lines.some(line => /listening on/.test(line)))
    } catch (cause) {
      await process.kill()
      throw cause
    }
    return new Capture(process)
  }

  /** The packets so far, a line or more each. */
  get text(): string {
    return this.#process.lines.join('\n')
  }

  /** The lines that match. */
  matches(pattern: RegExp): readonly string[] {
    return this.#process.lines.filter(line => pattern.test(line))
  }

  /** Waits until a packet matches: whatever was sent before it has then been seen as well. */
  async until(pattern: RegExp): Promise<void> {
    await this.#process.until(`a packet matches ${pattern}`, () => this.matches(pattern).length > 0)
  }

  /** Ends the capture. @throws {Error} when the kernel says that packets were lost: their absence would prove nothing. */
  async stop(): Promise<void> {
    await this.#process.stop('SIGINT')
    await this.#process.until('it has counted', () => this.matches(/packets? dropped by kernel/).length > 0)
    const [count = ''] = this.matches(/packets? dropped by kernel/)
    if (!count.startsWith('0 ')) throw new Error(`tcpdump: ${count}: want 0`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.kill()
  }
}

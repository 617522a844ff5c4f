import { styleText } from 'node:util'

/** Width of the column with what was done, so that details stand below each other. */
const WHAT_COLUMNS = 34

type Style = Parameters<typeof styleText>[0]

/** Writes the steps of a demonstration for a person at a terminal; without colours when there is none or NO_COLOR is set. */
export class Report {
  readonly #out: NodeJS.WriteStream

  constructor(out: NodeJS.WriteStream) {
    this.#out = out
  }

  /** A line above a group of steps. */
  heading(text: string): void {
    this.#out.write(`\n${this.#styled('bold', text)}\n`)
  }

  /**
   * Does something and says so: what it was, what `describe` makes of its outcome, and how long it took.
   *
   * @throws whatever `work` throws, after saying that this step failed.
   */
  async step<T>(what: string, work: () => Promise<T>, describe: (outcome: T) => string = () => ''): Promise<T> {
    const startedAtMs = performance.now()
    try {
      const outcome = await work()
      const ms = this.#styled('dim', `${Math.round(performance.now() - startedAtMs)} ms`)
      this.#out.write(`  ${this.#styled('green', '✔')} ${what.padEnd(WHAT_COLUMNS)} ${describe(outcome)}  ${ms}\n`)
      return outcome
    } catch (cause) {
      this.#out.write(`  ${this.#styled('red', '✖')} ${what}\n`)
      throw cause
    }
  }

  /** Lines under a title, as they are. */
  listing(title: string, lines: readonly string[]): void {
    this.#out.write(`  ${this.#styled('cyan', title)}\n`)
    for (const line of lines) this.#out.write(`    ${line}\n`)
  }

  /** The last line. */
  conclusion(text: string): void {
    this.#out.write(`\n${this.#styled(['bold', 'green'], text)}\n`)
  }

  #styled(style: Style, text: string): string {
    return styleText(style, text, { stream: this.#out })
  }
}

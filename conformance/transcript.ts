import type { Command } from '../e2e/parts/command.ts'
import type { Invocation } from './outcome.ts'

/** One command that a check executed, written so that a shell can execute it again, and what came of it. */
export interface Step {
  readonly command: string
  /** `null` when a signal ended it. */
  readonly exitCode: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Steps kept of one check: those of two hundred containers at once would fill pages. */
const MAX_STEPS = 60

/** Bytes kept of each output. */
const MAX_OUTPUT = 4_000

/** What a check executed, in order. */
export class Transcript {
  #steps: Step[] = []
  #dropped = 0

  /** Takes of an outcome what a step has, and nothing else. */
  add({ command, exitCode, stdout, stderr }: Step): void {
    if (this.#steps.length >= MAX_STEPS) this.#dropped += 1
    else this.#steps.push({ command, exitCode, stdout: cut(stdout), stderr: cut(stderr) })
  }

  clear(): void {
    this.#steps = []
    this.#dropped = 0
  }

  /** The steps; the last says how many more there were. */
  get steps(): readonly Step[] {
    if (this.#dropped === 0) return this.#steps
    const more = { command: `# and ${this.#dropped} commands more`, exitCode: 0, stdout: '', stderr: '' }
    return [...this.#steps, more]
  }
}

/** An invocation as a shell command with a here-document. The path of the namespace is that of the node. */
export function renderInvocation(invocation: Invocation, nodePath: string): string {
  const variables = Object.entries(invocation.env).map(([name, value]) => `${name}=${quote(value)}`)
  const words = ['nsenter', `--net=${nodePath}`, 'env', '-i', ...variables, quote(invocation.executable)]
  if (invocation.stdinPath !== undefined) return `${words.join(' ')} <${quote(invocation.stdinPath)}`
  if (invocation.stdin === '') return `${words.join(' ')} </dev/null`
  return `${words.join(' ')} <<'EOF'\n${invocation.stdin}\nEOF`
}

/** A command as a shell reads it. */
export function renderCommand(command: Command): string {
  return command.map(quote).join(' ')
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}

function cut(text: string): string {
  return text.length <= MAX_OUTPUT ? text : `${text.slice(0, MAX_OUTPUT)}…`
}

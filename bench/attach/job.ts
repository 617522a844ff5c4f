/** One program of a chain, as native/runner.c executes it. */
export interface ProgramCall {
  readonly executable: string
  /** The whole environment, `KEY=value`. */
  readonly env: readonly string[]
  /** The standard input. Where it is in two parts, the output of the program before goes between them. */
  readonly stdin: string | { readonly before: string; readonly after: string }
}

/** What native/runner.c is to do. */
export interface Job {
  /** All chains at once, or one after another. */
  readonly isAtOnce: boolean
  /** A daemon whose processor time counts too. */
  readonly daemonPid?: number
  /** After this, what still runs is killed. */
  readonly timeoutSeconds: number
  readonly chains: readonly (readonly ProgramCall[])[]
}

/** What a chain did: up to the first program that failed. */
export interface ChainReport {
  readonly calls: readonly CallReport[]
  /** From the start of the first program to the end of the last. */
  readonly wallMs: number
  /** Of every process of the chain. */
  readonly cpuMs: number
}

export interface CallReport {
  /** -1 when a signal ended it. */
  readonly exitCode: number
  readonly stdout: string
  readonly wallMs: number
  readonly cpuMs: number
  /** The largest resident set that one of its processes had. */
  readonly residentKib: number
}

export interface JobReport {
  /** From the first start to the last end. */
  readonly wholeMs: number
  readonly daemonCpuMs: number
  readonly chains: readonly ChainReport[]
}

/** A job as the runner reads it: fields, each with its length before it. */
export function encodeJob({ isAtOnce, daemonPid = 0, timeoutSeconds, chains }: Job): Buffer {
  const fields = [isAtOnce ? 1 : 0, daemonPid, timeoutSeconds, chains.length].map(String)
  for (const chain of chains) {
    fields.push(String(chain.length))
    for (const { executable, env, stdin } of chain) {
      const parts = typeof stdin === 'string' ? [stdin, '0', ''] : [stdin.before, '1', stdin.after]
      fields.push(executable, String(env.length), ...env, ...parts)
    }
  }
  return Buffer.concat(fields.flatMap(text => [Buffer.from(`${Buffer.byteLength(text)}\n`), Buffer.from(text)]))
}

/** Reads the runner's report on `count` chains. @throws {Error} when it is not one. */
export function decodeReport(bytes: Buffer, count: number): JobReport {
  const fields = fieldsOf(bytes)
  const next = (): number => {
    const value = Number(fields.next().value?.toString('latin1'))
    if (!Number.isFinite(value)) throw new Error('Cannot read the report of the runner: want a number')
    return value
  }
  const [wholeNs, daemonNs] = [next(), next()]
  const calls = Array.from({ length: count }, (): (CallReport & Span)[] => [])
  for (let first = fields.next(); first.done !== true; first = fields.next()) {
    const chain = calls[Number(first.value.toString('latin1'))]
    const [exitCode, beganNs, endedNs, cpuUs, residentKib] = [next(), next(), next(), next(), next()]
    const stdout = fields.next().value?.toString('utf8')
    if (chain === undefined || stdout === undefined)
      throw new Error('Cannot read the report of the runner: it is cut off')
    const times = { wallMs: (endedNs - beganNs) / 1e6, cpuMs: cpuUs / 1e3 }
    chain.push({ exitCode, stdout, ...times, residentKib, beganNs, endedNs })
  }
  return { wholeMs: wholeNs / 1e6, daemonCpuMs: daemonNs / 1e6, chains: calls.map(chainOf) }
}

interface Span {
  readonly beganNs: number
  readonly endedNs: number
}

function chainOf(calls: readonly (CallReport & Span)[]): ChainReport {
  const [first, last] = [calls[0], calls.at(-1)]
  if (first === undefined || last === undefined)
    throw new Error('Cannot read the report of the runner: a chain is missing')
  const cpuMs = calls.reduce((sum, each) => sum + each.cpuMs, 0)
  return {
    calls: calls.map(({ exitCode, stdout, wallMs, cpuMs, residentKib }) => ({
      exitCode,
      stdout,
      wallMs,
      cpuMs,
      residentKib,
    })),
    wallMs: (last.endedNs - first.beganNs) / 1e6,
    cpuMs,
  }
}

function* fieldsOf(bytes: Buffer): Generator<Buffer, undefined> {
  for (let at = 0; at < bytes.length;) {
    const colon = bytes.indexOf('\n', at)
    const length = Number(bytes.toString('latin1', at, colon))
    const end = colon + 1 + length
    if (colon === -1 || !Number.isInteger(length) || end > bytes.length)
      throw new Error('Cannot read the report of the runner: want whole fields')
    yield bytes.subarray(colon + 1, end)
    at = end
  }
  return undefined
}

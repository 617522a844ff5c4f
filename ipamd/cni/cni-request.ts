import type { Environment } from '../../lib/cni/invocation.ts'
import { ParseError } from '../../lib/net/parse-error.ts'
import { quoteText } from '../../lib/net/quote-text.ts'

/** Which file something is, by device and inode. */
export interface FileIdentity {
  readonly device: bigint
  readonly inode: bigint
}

/** What a launcher says of a call, beside the configuration. docs/adr/0008 has the protocol. */
export interface CniRequest {
  readonly env: Environment
  /** When the launcher stops waiting, on the monotonic clock, in milliseconds. */
  readonly deadlineMonotonicMs: number
  /** The network namespace that the launcher runs in. */
  readonly hostNetns: FileIdentity | undefined
  /** What CNI_NETNS is to the launcher; undefined when it is nothing there. */
  readonly podNetns: FileIdentity | undefined
  /** The folder of the locks, as the launcher sees it. */
  readonly runFolder: FileIdentity | undefined
}

const ENVIRONMENT_PREFIX = 'env-'

/**
 * Reads the headers of a request: names and values in turn, as they came.
 *
 * @throws {ParseError} naming the header that is missing or wrong.
 */
export function parseCniRequest(rawHeaders: readonly string[]): CniRequest {
  const env: Record<string, string> = {}
  const ours = new Map<string, string>()
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? ''
    const value = rawHeaders[index + 1] ?? ''
    const lower = name.toLowerCase()
    // Headers are bytes, and arrive as Latin-1; the environment of a process is read as UTF-8.
    if (lower.startsWith(ENVIRONMENT_PREFIX)) env[name.slice(ENVIRONMENT_PREFIX.length)] = textOf(value)
    else if (lower.startsWith('tulle-')) ours.set(lower, value)
  }
  return {
    env,
    deadlineMonotonicMs: parseWhole(ours.get('tulle-deadline'), 'tulle-deadline'),
    hostNetns: parseIdentity(ours, 'tulle-host-netns'),
    podNetns: parseIdentity(ours, 'tulle-pod-netns'),
    runFolder: parseIdentity(ours, 'tulle-run-folder'),
  }
}

/** True when both are known and are one file. */
export function isSameFile(one: FileIdentity | undefined, other: FileIdentity | undefined): boolean {
  return one !== undefined && other !== undefined && one.device === other.device && one.inode === other.inode
}

function textOf(value: string): string {
  return Buffer.from(value, 'latin1').toString('utf8')
}

function parseWhole(text: string | undefined, name: string): number {
  if (text !== undefined && /^\d{1,15}$/.test(text)) return Number(text)
  throw new ParseError(`header ${name} ${quoteText(text ?? '')}: want milliseconds of the monotonic clock`)
}

function parseIdentity(headers: ReadonlyMap<string, string>, name: string): FileIdentity | undefined {
  const text = headers.get(name)
  if (text === undefined) return undefined
  const [, device, inode] = /^(\d{1,20}):(\d{1,20})$/.exec(text) ?? []
  if (device === undefined || inode === undefined)
    throw new ParseError(`header ${name} ${quoteText(text)}: want DEVICE:INODE`)
  return { device: BigInt(device), inode: BigInt(inode) }
}

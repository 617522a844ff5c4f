import { parseIfName } from '../net/if-name.ts'
import { quoteText } from '../net/quote-text.ts'
import { parseContainerId } from './attachment-names.ts'
import { parseCniArgs } from './cni-args.ts'
import { CniError, ErrorCode } from './errors.ts'
import { parseAt } from './json.ts'
import type { IfName } from '../net/if-name.ts'
import type { CniArgs } from './cni-args.ts'

/** What ADD, CHECK and DEL have in common. */
interface AttachmentInvocation {
  readonly containerId: string
  readonly ifName: IfName
  /** Folders to look for delegated plugins in, in order. Empty when CNI_PATH is not set (checklist E3). */
  readonly cniPath: readonly string[]
  readonly args: CniArgs
  /** CNI_NETNS_OVERRIDE: the namespace may be the plugin's own (checklist E9). */
  readonly netnsOverride: boolean
}

/** One run of the plugin, as the CNI_* variables describe it. "about" is a run by hand, without CNI_COMMAND (E2). */
export type Invocation =
  | (AttachmentInvocation & { readonly command: 'ADD' | 'CHECK'; readonly netnsPath: string })
  | (AttachmentInvocation & { readonly command: 'DEL'; readonly netnsPath: string | undefined })
  | { readonly command: 'GC' | 'STATUS'; readonly cniPath: readonly string[] }
  | { readonly command: 'VERSION' }
  | { readonly command: 'about' }

/** The environment, or what a caller sent in its place. */
export type Environment = Readonly<Record<string, string | undefined>>

/** PATH_MAX is 4096, and its last byte is NUL. */
const MAX_PATH_BYTES = 4095

/**
 * Parses the CNI_* variables (checklist 1.1; CNI 1.1.0, section 2, "Parameters"). Others are tolerated; trace
 * context is for who logs and asks ipamd (E11, lib/ipam/trace-context.ts).
 *
 * @throws {CniError} code 4 naming every variable that is missing, or the first that is invalid.
 */
export function parseInvocation(env: Environment): Invocation {
  const command = env['CNI_COMMAND']
  switch (command) {
    case undefined:
    case '':
      return { command: 'about' }
    case 'ADD':
    case 'CHECK':
      refuseMissing(env, ['CNI_CONTAINERID', 'CNI_NETNS', 'CNI_IFNAME'])
      return { command, ...parseAttachment(env, { lenient: false }), netnsPath: parseNetnsPath(env) }
    case 'DEL':
      refuseMissing(env, ['CNI_CONTAINERID', 'CNI_IFNAME'])
      return {
        command,
        ...parseAttachment(env, { lenient: true }),
        netnsPath: usableNetnsPath(env),
      }
    case 'GC':
    case 'STATUS':
      return { command, cniPath: parseCniPath(env) }
    case 'VERSION':
      return { command }
    default:
      throw new CniError(ErrorCode.invalidEnvironment, `unknown CNI_COMMAND: ${unquoted(command)}`)
  }
}

function parseAttachment(env: Environment, options: { readonly lenient: boolean }): AttachmentInvocation {
  return {
    containerId: parseContainerId(env['CNI_CONTAINERID'] ?? '', options),
    ifName: parseAt({ path: 'CNI_IFNAME', code: ErrorCode.invalidEnvironment }, () =>
      parseIfName(env['CNI_IFNAME'] ?? ''),
    ),
    cniPath: parseCniPath(env),
    args: parseCniArgs(env['CNI_ARGS'], options),
    netnsOverride: /^(1|true)$/i.test(env['CNI_NETNS_OVERRIDE'] ?? ''),
  }
}

/** Empty counts as missing. The message has the reference library's form (checklist E3). */
function refuseMissing(env: Environment, names: readonly string[]): void {
  const missing = names.filter(name => !env[name])
  if (missing.length === 0) return
  throw new CniError(ErrorCode.invalidEnvironment, `required env variables [${missing.join(',')}] missing`)
}

function parseNetnsPath(env: Environment): string {
  const path = usableNetnsPath(env)
  if (path !== undefined) return path
  throw new CniError(
    ErrorCode.invalidEnvironment,
    `Cannot use CNI_NETNS ${quoteText(env['CNI_NETNS'] ?? '')}: want an absolute path of at most ${MAX_PATH_BYTES} bytes`,
  )
}

/**
 * The namespace's path, or undefined when there is none (checklist E10). A path that ADD refuses names nothing that was
 * attached. It has to be absolute: ipamd, which may do the work, has another working directory.
 */
function usableNetnsPath(env: Environment): string | undefined {
  const path = env['CNI_NETNS'] ?? ''
  if (!path.startsWith('/') || path.includes('\0')) return undefined
  return new TextEncoder().encode(path).length <= MAX_PATH_BYTES ? path : undefined
}

/** An empty element would mean the working directory, which is nobody's choice: it is left out. */
function parseCniPath(env: Environment): readonly string[] {
  return (env['CNI_PATH'] ?? '').split(':').filter(folder => folder !== '')
}

function unquoted(text: string): string {
  return quoteText(text).replace(/^"([\w-]*)"$/, '$1')
}

import { parseNetworkConfiguration, type NetworkConfiguration } from '../cni/configuration.ts'
import { CniError, ErrorCode, renderCniError } from '../cni/errors.ts'
import { parseInvocation, type Environment, type Invocation } from '../cni/invocation.ts'
import { parseJsonObject } from '../cni/json.ts'
import { parseCniVersion, SUPPORTED_VERSIONS, supportsVerb } from '../cni/version.ts'
import { Deadline } from '../time/deadline.ts'
import { Declined } from './edges.ts'
import { toCniError } from './to-cni-error.ts'

/** What one run of a plugin comes to. */
export interface Outcome {
  /** Exactly one JSON document, or nothing (invariant 5). */
  readonly stdout: string
  readonly stderr: string
  readonly exitCode: number
}

/** One run of a plugin, as it starts. */
export interface Run {
  readonly env: Environment
  /** Reads standard input to its end. @throws {CniError} code 5. */
  readStdin(by: Deadline): string
  /** When whoever asked stops waiting; absent when nobody said. */
  readonly by?: Deadline
}

/** An invocation that works on a network. */
export type VerbInvocation = Exclude<Invocation, { command: 'VERSION' | 'about' }>

/** What makes one plugin different from another. */
export interface Plugin {
  /** What it is, for a person who runs it by hand. */
  readonly about: string
  /** The longest that each verb may take, in milliseconds. */
  readonly budgetMs: Readonly<Record<VerbInvocation['command'], number>>
  /** Performs one verb. @returns The document for standard output, or undefined for none. */
  perform(invocation: VerbInvocation, network: NetworkConfiguration, by: Deadline): Promise<object | undefined>
}

const NEWEST = '1.1.0'
/** VERSION does without its input, and somebody may ask for it from a terminal. */
const VERSION_INPUT_MS = 1_000

/**
 * Performs one run of a plugin: environment and standard input in, one document and an exit code out.
 *
 * Whatever fails becomes an error document on standard output (SPEC 1.1.0, sections 2 and 5).
 *
 * @throws {Declined} only: then another host has to do it, and nothing was changed.
 */
export async function runPlugin(run: Run, plugin: Plugin): Promise<Outcome> {
  let stdin = ''
  try {
    const invocation = parseInvocation(run.env)
    if (invocation.command === 'about') return byHand(plugin)
    if (invocation.command === 'VERSION') return success(version(readVersionInput(run)))
    const budgetMs = plugin.budgetMs[invocation.command]
    const by = run.by?.capped(budgetMs) ?? Deadline.in(budgetMs)
    stdin = run.readStdin(by)
    // DEL must not fail on what an older or a newer configuration says beside the attachment (checklist D6).
    const network = parseNetworkConfiguration(stdin, { lenient: invocation.command === 'DEL' })
    refuseTooNewVerb(invocation.command, network)
    return success(await plugin.perform(invocation, network, by))
  } catch (failure) {
    if (failure instanceof Declined) throw failure
    return failed(failure, stdin)
  }
}

/** What a run comes to that fails for this reason, with this input. */
export function failed(failure: unknown, stdin: string): Outcome {
  return { stdout: `${renderCniError(toCniError(failure), versionOfErrors(stdin))}\n`, stderr: '', exitCode: 1 }
}

/** An error has the version of the configuration, also when that cannot be read as a whole; or else our newest. */
function versionOfErrors(stdin: string): string {
  try {
    const asked = parseJsonObject(stdin)['cniVersion']
    return parseCniVersion(typeof asked === 'string' ? asked : undefined)
  } catch (failure) {
    if (failure instanceof CniError) return NEWEST
    throw failure
  }
}

/** The input of VERSION, or nothing when it does not come to an end soon. */
function readVersionInput(run: Run): string {
  try {
    return run.readStdin(Deadline.in(VERSION_INPUT_MS))
  } catch (failure) {
    if (failure instanceof CniError && failure.code === ErrorCode.io) return ''
    throw failure
  }
}

function refuseTooNewVerb(command: VerbInvocation['command'], { cniVersion }: NetworkConfiguration): void {
  if (command === 'ADD' || command === 'DEL' || supportsVerb(cniVersion, command)) return
  throw new CniError(ErrorCode.incompatibleVersion, `config version does not allow ${command}`, {
    details: `cniVersion is ${cniVersion}`,
  })
}

/** The answer to VERSION: the version of the input again (checklist V1), and what we speak. Empty input is fine (V2). */
function version(stdin: string): object {
  const asked = stdin.trim() === '' ? undefined : parseJsonObject(stdin)['cniVersion']
  return {
    cniVersion: typeof asked === 'string' && asked !== '' ? asked : NEWEST,
    supportedVersions: SUPPORTED_VERSIONS,
  }
}

/** The answer to a run by hand (checklist E2). */
function byHand({ about }: Plugin): Outcome {
  const stderr = `${about}\nCNI protocol versions supported: ${SUPPORTED_VERSIONS.join(', ')}\n`
  return { stdout: '', stderr, exitCode: 0 }
}

function success(document: object | undefined): Outcome {
  return { stdout: document === undefined ? '' : `${JSON.stringify(document)}\n`, stderr: '', exitCode: 0 }
}

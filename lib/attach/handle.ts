import { parseNetworkConfiguration, type NetworkConfiguration } from '../cni/configuration.ts'
import { CniError, ErrorCode, renderCniError } from '../cni/errors.ts'
import { parseInvocation, type Environment, type Invocation } from '../cni/invocation.ts'
import { parseJsonObject } from '../cni/json.ts'
import { renderResult } from '../cni/result.ts'
import { parseTulleConfiguration } from '../cni/tulle-configuration.ts'
import { SUPPORTED_VERSIONS, supportsVerb } from '../cni/version.ts'
import { Deadline } from '../time/deadline.ts'
import { add } from './add.ts'
import { attachmentOf, type AttachmentCall, type Call } from './call.ts'
import { check } from './check.ts'
import { del } from './del.ts'
import type { Edges } from './edges.ts'
import { gc } from './gc.ts'
import { status } from './status.ts'
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
}

const NEWEST = '1.1.0'

/** The longest that each verb may take, in milliseconds: well below the two minutes that the kubelet waits (R4). */
const BUDGET_MS = { ADD: 30_000, DEL: 30_000, CHECK: 15_000, GC: 60_000, STATUS: 5_000, VERSION: 5_000 } as const

type Verb = Exclude<Invocation, { command: 'VERSION' | 'about' }>

/**
 * Performs one run of the plugin: environment and standard input in, one document and an exit code out.
 *
 * Never throws: whatever fails becomes an error document on standard output (SPEC 1.1.0, section 2 and 5).
 */
export async function handle(run: Run, edges: Edges): Promise<Outcome> {
  let cniVersion: string = NEWEST
  try {
    const invocation = parseInvocation(run.env)
    if (invocation.command === 'about') return about()
    const by = Deadline.in(BUDGET_MS[invocation.command])
    const stdin = run.readStdin(by)
    if (invocation.command === 'VERSION') return success(version(stdin))
    const network = parseNetworkConfiguration(stdin, { lenient: invocation.command === 'DEL' })
    cniVersion = network.cniVersion
    return success(await perform(invocation, network, { edges, by }))
  } catch (failure) {
    return { stdout: `${renderCniError(toCniError(failure), cniVersion)}\n`, stderr: '', exitCode: 1 }
  }
}

async function perform(invocation: Verb, network: NetworkConfiguration, on: Host): Promise<object | undefined> {
  const { edges, by } = on
  const { command, cniPath } = invocation
  if ((command === 'CHECK' || command === 'GC' || command === 'STATUS') && !supportsVerb(network.cniVersion, command)) {
    throw new CniError(ErrorCode.incompatibleVersion, `config version does not allow ${command}`, {
      details: `cniVersion is ${network.cniVersion}`,
    })
  }
  // What takes things down must not fail on what a newer or an older configuration says about putting them up (D6).
  const lenient = command === 'DEL' || command === 'GC'
  const call: Call = { network, own: parseTulleConfiguration(network, { lenient }), cniPath }
  switch (command) {
    case 'ADD':
      return renderResult(await add(attachmentCall(call, invocation), edges, by), network.cniVersion)
    case 'CHECK':
      return void (await check(attachmentCall(call, invocation), edges, by))
    case 'DEL':
      return void (await del(attachmentCall(call, invocation), edges, by))
    case 'GC':
      return void (await gc(call, edges, by))
    case 'STATUS':
      return void (await status(call, edges, by))
  }
}

interface Host {
  readonly edges: Edges
  readonly by: Deadline
}

function attachmentCall(call: Call, invocation: AttachmentCall['invocation']): AttachmentCall {
  return { ...call, invocation, attachment: attachmentOf(call.network, invocation) }
}

/** The answer to VERSION: the version of the input again (checklist V1), and what we speak. Empty input is fine (V2). */
function version(stdin: string): object {
  const asked = stdin.trim() === '' ? undefined : parseJsonObject(stdin)['cniVersion']
  return { cniVersion: typeof asked === 'string' && asked !== '' ? asked : NEWEST, supportedVersions: SUPPORTED_VERSIONS }
}

/** Somebody runs the plugin by hand (checklist E2). */
function about(): Outcome {
  const versions = SUPPORTED_VERSIONS.join(', ')
  const stderr = `CNI plugin of Tulle: attaches a container to a routed pod network\nCNI protocol versions supported: ${versions}\n`
  return { stdout: '', stderr, exitCode: 0 }
}

function success(document: object | undefined): Outcome {
  return { stdout: document === undefined ? '' : `${JSON.stringify(document)}\n`, stderr: '', exitCode: 0 }
}

import { quoteText } from '../net/quote-text.ts'
import { CniError, ErrorCode } from './errors.ts'

/** What CNI_ARGS says. Conventions that have an equivalent in the configuration take it from there (checklist E8). */
export interface CniArgs {
  /** The Kubernetes pod, when the runtime names one. */
  readonly pod?: { readonly namespace: string; readonly name: string; readonly uid?: string }
  /** K8S_POD_INFRA_CONTAINER_ID: the runtime's own name for the sandbox. */
  readonly infraContainerId?: string
  /** IP: the address that is asked for, as text. */
  readonly ip?: string
  /** MAC: the hardware address that is asked for, as text. */
  readonly mac?: string
}

const KNOWN_KEYS: ReadonlySet<string> = new Set([
  'IgnoreUnknown',
  'IP',
  'K8S_POD_INFRA_CONTAINER_ID',
  'K8S_POD_NAME',
  'K8S_POD_NAMESPACE',
  'K8S_POD_UID',
  'MAC',
])

/**
 * Parses CNI_ARGS, "KEY=VALUE;KEY=VALUE" in any order (checklist E7).
 *
 * With `lenient` nothing is refused, and what cannot be read is left out. That is for DEL, which needs none of it: a
 * container must not stay for ever because of a variable that does not matter.
 *
 * @throws {CniError} code 4 when a pair has not exactly one "=", or a key is unknown and IgnoreUnknown is not set.
 */
export function parseCniArgs(text: string | undefined, options: { readonly lenient?: boolean } = {}): CniArgs {
  const pairs = text ? text.split(';').map(pair => pair.split('=')) : []
  if (!options.lenient) refuseBadPairs(pairs)
  const values = new Map(pairs.map(([key = '', value = '']) => [key, value]))
  const ip = values.get('IP')
  const mac = values.get('MAC')
  const infraContainerId = values.get('K8S_POD_INFRA_CONTAINER_ID')
  const pod = podOf(values)
  return {
    ...(pod ? { pod } : {}),
    ...(infraContainerId ? { infraContainerId } : {}),
    ...(ip ? { ip } : {}),
    ...(mac ? { mac } : {}),
  }
}

function refuseBadPairs(pairs: readonly (readonly string[])[]): void {
  const malformed = pairs.find(pair => pair.length !== 2)
  if (malformed) {
    throw invalid(`Cannot use CNI_ARGS pair ${quoteText(malformed.join('='))}: want KEY=VALUE, with one "="`)
  }
  const unknown = pairs.filter(([key = '']) => !KNOWN_KEYS.has(key)).map(pair => pair.join('='))
  if (!isIgnoreUnknown(pairs) && unknown.length > 0) {
    throw invalid(`Cannot use CNI_ARGS ${quoteText(unknown.join(';'))}: unknown keys; want IgnoreUnknown=1 beside them`)
  }
}

function isIgnoreUnknown(pairs: readonly (readonly string[])[]): boolean {
  const text = pairs.findLast(([key]) => key === 'IgnoreUnknown')?.[1] ?? 'false'
  if (text === '1' || text.toLowerCase() === 'true') return true
  if (text === '0' || text.toLowerCase() === 'false') return false
  throw invalid(`Cannot use CNI_ARGS IgnoreUnknown ${quoteText(text)}: want 1, true, 0 or false`)
}

function podOf(values: ReadonlyMap<string, string>): CniArgs['pod'] {
  const namespace = values.get('K8S_POD_NAMESPACE')
  const name = values.get('K8S_POD_NAME')
  const uid = values.get('K8S_POD_UID')
  return namespace && name ? { namespace, name, ...(uid ? { uid } : {}) } : undefined
}

function invalid(msg: string): CniError {
  return new CniError(ErrorCode.invalidEnvironment, msg)
}

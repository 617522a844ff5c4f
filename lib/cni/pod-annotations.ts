import { MAX_NAME_LENGTH, MAX_STICKY_SECONDS } from '../ipam/protocol.ts'
import { CniError } from './errors.ts'
import { member, optionalSection, quoteJson, rootSection } from './json.ts'
import type { NetworkConfiguration } from './configuration.ts'
import type { JsonValue, Section } from './json.ts'

/** The capability by which containerd and CRI-O hand over all annotations of the pod. No call to the API server is needed (R33). */
const CAPABILITY = 'io.kubernetes.cri.pod-annotations'

const SECONDS_OF = { '': 1, s: 1, m: 60, h: 3_600, d: 86_400 } as const

/** Our annotations of the pod, as far as they ask for something. Those of others, and those that nobody knows, are not looked at. */
export interface PodAnnotations {
  /** `tulle.dev/addresses`, not parsed yet: something else may come before it. */
  readonly addresses: string | undefined
  /** `tulle.dev/sticky`: how long the pod's addresses are kept for it. */
  readonly stickySeconds: number | undefined
  /** `tulle.dev/pool`: the pool to lease from. */
  readonly pool: string | undefined
}

/** The annotation that names addresses, as messages call it. */
export const ADDRESSES_ANNOTATION = 'pod annotation tulle.dev/addresses'

/**
 * Reads what the pod's annotations ask for. An empty value asks for nothing.
 *
 * @throws {CniError} code 7 naming the annotation, its value and what is wanted.
 */
export function readPodAnnotations({ runtimeConfig }: NetworkConfiguration): PodAnnotations {
  const section = optionalSection({ ...rootSection(runtimeConfig), path: 'runtimeConfig' }, CAPABILITY)
  return {
    addresses: section && annotation(section, 'tulle.dev/addresses'),
    stickySeconds: section && parseSticky(section),
    pool: section && parsePool(section),
  }
}

function annotation(section: Section, key: string): string | undefined {
  const value = member(section, key)
  if (value === undefined) return undefined
  if (typeof value !== 'string') throw refused(section, { key, value, wanted: 'a string' })
  return value.trim() === '' ? undefined : value.trim()
}

function parsePool(section: Section): string | undefined {
  const key = 'tulle.dev/pool'
  const value = annotation(section, key)
  if (value === undefined || value.length <= MAX_NAME_LENGTH) return value
  throw refused(section, { key, value, wanted: `the name of a pool, at most ${MAX_NAME_LENGTH} characters` })
}

/** A number of seconds, or a number with the unit s, m, h or d. */
function parseSticky(section: Section): number | undefined {
  const key = 'tulle.dev/sticky'
  const value = annotation(section, key)
  if (value === undefined) return undefined
  const [, digits, unit = ''] = /^([0-9]{1,7})([smhd]?)$/.exec(value) ?? []
  const seconds = Number(digits) * SECONDS_OF[unit as keyof typeof SECONDS_OF] // the pattern allows no other unit
  if (seconds <= MAX_STICKY_SECONDS) return seconds
  const most = MAX_STICKY_SECONDS / SECONDS_OF.d
  throw refused(section, {
    key,
    value,
    wanted: `a time such as "90", "90s", "10m", "1h" or "1d", at most ${most} days`,
  })
}

interface Fault {
  readonly key: string
  readonly value: JsonValue
  readonly wanted: string
}

function refused({ code }: Section, { key, value, wanted }: Fault): CniError {
  return new CniError(code, `Cannot use pod annotation ${key} ${quoteJson(value)}: want ${wanted}`)
}

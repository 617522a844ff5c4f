import { quoteText } from '../net/quote-text.ts'
import { CniError, ErrorCode } from './errors.ts'

/** Versions of the CNI specification that we speak, oldest first. */
export const SUPPORTED_VERSIONS = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const

/** A version of the CNI specification that we speak. */
export type CniVersion = (typeof SUPPORTED_VERSIONS)[number]

/** A verb that older versions of the specification do not have, and the version that brought it. */
const VERB_SINCE = { CHECK: '0.4.0', GC: '1.1.0', STATUS: '1.1.0' } as const

/** Semantic Versioning 2.0.0: three numbers, then perhaps a pre-release and a build. */
const SEMVER = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/

/**
 * Parses a configuration's cniVersion. Missing or empty means 0.1.0, the version before the field existed.
 *
 * @throws {CniError} code 6 when it is no semantic version; code 1 when it is one that we do not speak.
 */
export function parseCniVersion(text: string | undefined): CniVersion {
  if (text === undefined || text === '') return '0.1.0'
  const version = SUPPORTED_VERSIONS.find(known => known === text)
  if (version !== undefined) return version
  if (!SEMVER.test(text)) {
    throw new CniError(ErrorCode.decode, `Cannot parse cniVersion ${quoteText(text)}: want MAJOR.MINOR.PATCH`)
  }
  throw new CniError(ErrorCode.incompatibleVersion, 'incompatible CNI versions', {
    details: `config is ${quoteText(text)}, plugin supports ${JSON.stringify(SUPPORTED_VERSIONS)}`,
  })
}

/** Whether `version` is `since` or newer. */
export function isAtLeast(version: CniVersion, since: CniVersion): boolean {
  return SUPPORTED_VERSIONS.indexOf(version) >= SUPPORTED_VERSIONS.indexOf(since)
}

/** Whether a configuration of `version` may be used with `verb`: CHECK from 0.4.0, GC and STATUS from 1.1.0. */
export function supportsVerb(version: CniVersion, verb: keyof typeof VERB_SINCE): boolean {
  return isAtLeast(version, VERB_SINCE[verb])
}

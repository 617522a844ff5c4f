import { parseNetworkName } from './attachment-names.ts'
import { withConventionalKeys } from './capability-keys.ts'
import { parseDns } from './dns.ts'
import { CniError, ErrorCode } from './errors.ts'
import {
  optionalSection,
  optionalSections,
  optionalString,
  parseJsonObject,
  refusal,
  requiredString,
  rootSection,
} from './json.ts'
import { readResult } from './result.ts'
import { parseCniVersion } from './version.ts'
import type { JsonObject, Section } from './json.ts'
import type { Dns, Result } from './result.ts'
import type { CniVersion } from './version.ts'

/** An attachment that the runtime says is alive (GC), as text: it may be another plugin's. */
export interface ValidAttachment {
  readonly containerId: string
  readonly ifName: string
}

/** The plugin configuration object on standard input, checked as far as every plugin has to. */
export interface NetworkConfiguration {
  readonly cniVersion: CniVersion
  readonly name: string
  readonly type: string
  readonly ipam?: { readonly type: string; readonly raw: JsonObject }
  readonly prevResult?: Result
  readonly dns?: Dns
  readonly runtimeConfig: JsonObject
  readonly args: JsonObject
  /** Undefined when the runtime named none: GC has nothing to go by then, and does nothing (checklist G3). */
  readonly validAttachments?: readonly ValidAttachment[]
  /** The whole object, as a delegated plugin has to get it. */
  readonly raw: JsonObject
}

/** How strictly a configuration is read. */
export interface ConfigurationOptions {
  /** Leaves out, rather than refuses, what cannot be read and is not needed to find the attachment. For DEL (checklist D6). */
  readonly lenient?: boolean
}

/**
 * Parses standard input (checklist 1.2). Keys that nobody knows are tolerated, null counts as missing.
 *
 * @throws {CniError} code 6 for what is no JSON, no version or no result; code 1 for a version that we do not speak; code 7
 *   with path, value and what is wanted for everything else.
 */
export function parseNetworkConfiguration(stdin: string, options: ConfigurationOptions = {}): NetworkConfiguration {
  const raw = parseJsonObject(stdin)
  const root = rootSection(raw)
  const cniVersion = parseCniVersion(optionalString({ ...root, code: ErrorCode.decode }, 'cniVersion'))
  const name = parseNetworkName(optionalString(root, 'name') ?? '', options)
  const read = options.lenient ? orUndefined : orThrow

  const ipam = read(() => parseIpam(root))
  const prevResult = read(() => parsePrevResult(root, cniVersion))
  const dns = read(() => parseConfiguredDns(root))
  const validAttachments = read(() => parseValidAttachments(root))
  return {
    cniVersion,
    name,
    type: read(() => parsePluginType(root)) ?? '',
    ...(ipam ? { ipam } : {}),
    ...(prevResult ? { prevResult } : {}),
    ...(dns ? { dns } : {}),
    runtimeConfig: withConventionalKeys(read(() => optionalSection(root, 'runtimeConfig')?.object) ?? {}),
    args: read(() => optionalSection(root, 'args')?.object) ?? {},
    ...(validAttachments ? { validAttachments } : {}),
    raw,
  }
}

function orThrow<Value>(read: () => Value): Value {
  return read()
}

function orUndefined<Value>(read: () => Value): Value | undefined {
  try {
    return read()
  } catch (failure) {
    if (failure instanceof CniError) return undefined
    throw failure
  }
}

/** The name of an executable in CNI_PATH, never a path (checklist C3). */
function parsePluginType(section: Section): string {
  const type = requiredString(section, 'type')
  if (/[/\\\0]/.test(type) || type === '.' || type === '..') {
    throw refusal(section, 'type', 'the name of a plugin, without path separators')
  }
  return type
}

function parseIpam(root: Section): NetworkConfiguration['ipam'] {
  const section = optionalSection(root, 'ipam')
  return section && { type: parsePluginType(section), raw: section.object }
}

function parsePrevResult(root: Section, version: CniVersion): Result | undefined {
  const section = optionalSection({ ...root, code: ErrorCode.decode }, 'prevResult')
  return section && readResult(section, version)
}

function parseConfiguredDns(root: Section): Dns | undefined {
  const section = optionalSection(root, 'dns')
  return section && parseDns(section)
}

/**
 * The attachments under the specification's key and under the one that libcni wrote first (checklist G2). With both, what
 * either names is alive: freeing too little is repaired later, freeing too much is not.
 */
function parseValidAttachments(root: Section): readonly ValidAttachment[] | undefined {
  const lists = ['cni.dev/valid-attachments', 'cni.dev/attachments']
    .map(key => optionalSections(root, key))
    .filter(list => list !== undefined)
  if (lists.length === 0) return undefined
  return lists.flat().map(item => ({
    containerId: requiredString(item, 'containerID'),
    ifName: requiredString(item, 'ifname'),
  }))
}

import { parseAddress } from '../net/address.ts'
import { parseAddressWithLength } from '../net/prefix.ts'
import { CniError, ErrorCode } from './errors.ts'
import { isEmpty, member, optionalSection, optionalStrings, parseAt, rootSection } from './json.ts'
import { ADDRESSES_ANNOTATION } from './pod-annotations.ts'
import type { Address } from '../net/address.ts'
import type { CniArgs } from './cni-args.ts'
import type { NetworkConfiguration } from './configuration.ts'
import type { Section } from './json.ts'
import type { PodAnnotations } from './pod-annotations.ts'

/** Where addresses may be asked for. */
export interface AddressRequests {
  readonly network: Pick<NetworkConfiguration, 'runtimeConfig' | 'args'>
  readonly annotations: Pick<PodAnnotations, 'addresses'>
  readonly args: Pick<CniArgs, 'ip'>
}

/** Texts of addresses, and where they stood. */
interface Asked {
  readonly path: string
  readonly texts: readonly string[]
  /** The path of one of the texts. */
  readonly pathOf: (index: number) => string
}

/**
 * The addresses that are asked for, at most one of each family; empty when there are none.
 *
 * They come from the first of these that names any: runtimeConfig.ips, the pod's annotation, args.cni.ips, IP in CNI_ARGS. The
 * ones behind it are not even read (CNI CONVENTIONS.md; checklist E8). The annotation comes after `ips` because it speaks of
 * the whole pod, and `ips` of this very attachment; before `args.cni` because it is in runtimeConfig.
 *
 * Each is an address, or an address with a prefix length. The length is checked, and then not used, as in host-local: an address
 * has the length that its block has.
 *
 * @throws {CniError} code 7 with path, value and what is wanted.
 */
export function requestedAddresses({ network, annotations, args }: AddressRequests): readonly Address[] {
  const asked =
    listAt({ ...rootSection(network.runtimeConfig), path: 'runtimeConfig' }) ??
    commaList(annotations.addresses, ADDRESSES_ANNOTATION) ??
    listAt(optionalSection({ ...rootSection(network.args), path: 'args' }, 'cni')) ??
    commaList(args.ip, 'IP in CNI_ARGS')
  return asked === undefined ? [] : parseAll(asked)
}

function listAt(section: Section | undefined): Asked | undefined {
  const value = section && member(section, 'ips')
  if (section === undefined || value === undefined || isEmpty(value)) return undefined
  const path = `${section.path}.ips`
  return { path, texts: optionalStrings(section, 'ips') ?? [], pathOf: index => `${path}[${index}]` }
}

function commaList(text: string | undefined, path: string): Asked | undefined {
  return text === undefined ? undefined : { path, texts: text.split(',').map(each => each.trim()), pathOf: () => path }
}

function parseAll({ path, texts, pathOf }: Asked): readonly Address[] {
  const addresses = texts.map((text, index) =>
    parseAt({ path: pathOf(index), code: ErrorCode.invalidConfig }, () => parseOne(text)),
  )
  const isTwice = addresses.some(({ family }, index) => addresses.findIndex(each => each.family === family) !== index)
  if (!isTwice) return addresses
  // Not longer than two addresses and their lengths: every text was one.
  const shown = texts.slice(0, 4).join(', ')
  throw new CniError(ErrorCode.invalidConfig, `Cannot use ${path} "${shown}": want at most one address of each family`)
}

function parseOne(text: string): Address {
  return text.includes('/') ? parseAddressWithLength(text).address : parseAddress(text)
}

import { MAX_RANGES } from '../ipam/protocol.ts'
import { parseAddress } from '../net/address.ts'
import { containsAddress, firstAddress, formatPrefix, lastAddress, parsePrefix } from '../net/prefix.ts'
import { CniError, ErrorCode } from './errors.ts'
import {
  isEmpty,
  isList,
  member,
  optionalString,
  parseAt,
  pathOf,
  quoteJson,
  requiredString,
  rootSection,
  sectionsAt,
} from './json.ts'
import type { Address } from '../net/address.ts'
import type { AddressRange } from '../net/address-range.ts'
import type { Prefix } from '../net/prefix.ts'
import type { NetworkConfiguration } from './configuration.ts'
import type { Section } from './json.ts'

/**
 * The ranges that the capability `ipRanges` restricts the lease to: each list is one address, and comes from one of its ranges
 * (CNI CONVENTIONS.md). A family that has no list gets any address of the pool. Empty when nobody asks.
 *
 * A range is a range and no network: which addresses are never leased follows from the block that they are in.
 *
 * @throws {CniError} code 7 with path, value and what is wanted; code 2 for `gateway`, because gateways are the pool's and the
 *   plugin's own: who asks for another one must not believe to have it.
 */
export function requestedRanges({
  runtimeConfig,
}: Pick<NetworkConfiguration, 'runtimeConfig'>): readonly AddressRange[] {
  const root: Section = { ...rootSection(runtimeConfig), path: 'runtimeConfig' }
  const value = member(root, 'ipRanges')
  if (value === undefined || isEmpty(value)) return []
  if (!isList(value)) throw wrong('runtimeConfig.ipRanges', quoteJson(value), 'a list of lists of ranges')
  const sets = value.map((set, index) => {
    const path = `runtimeConfig.ipRanges[${index}]`
    const ranges = sectionsAt(path, { value: set, code: root.code }).map(readRange)
    const [first, ...more] = ranges
    if (first === undefined) throw wrong(path, '[]', 'at least one range')
    if (more.every(range => range.first.family === first.first.family)) return ranges
    throw wrong(path, quoteJson(set), 'ranges of one family')
  })
  const families = sets.map(([range]) => range?.first.family)
  if (new Set(families).size !== families.length) {
    throw wrong(
      'runtimeConfig.ipRanges',
      quoteJson(value),
      'at most one list for each family: a pod has one address of each',
    )
  }
  const ranges = sets.flat()
  if (ranges.length <= MAX_RANGES) return ranges
  throw wrong('runtimeConfig.ipRanges', `of ${ranges.length} ranges`, `at most ${MAX_RANGES}`)
}

function readRange(section: Section): AddressRange {
  const at = (key: string): Pick<Section, 'path' | 'code'> => ({ path: pathOf(section, key), code: section.code })
  const subnet = parseAt(at('subnet'), () => parsePrefix(requiredString(section, 'subnet')))
  const first = endOf(section, { key: 'rangeStart', subnet }) ?? firstAddress(subnet)
  const last = endOf(section, { key: 'rangeEnd', subnet }) ?? lastAddress(subnet)
  if (first.value > last.value) {
    throw wrong(section.path, quoteJson(section.object), 'a rangeStart that is not behind rangeEnd')
  }
  const gateway = member(section, 'gateway')
  if (gateway !== undefined && !isEmpty(gateway)) {
    const path = pathOf(section, 'gateway')
    throw new CniError(ErrorCode.unsupportedField, `${path} ${quoteJson(gateway)} is not supported: leave it out`)
  }
  return { first, last }
}

function endOf(
  section: Section,
  { key, subnet }: { readonly key: string; readonly subnet: Prefix },
): Address | undefined {
  const text = optionalString(section, key)
  if (text === undefined || text === '') return undefined
  const path = pathOf(section, key)
  const address = parseAt({ path, code: section.code }, () => parseAddress(text))
  if (containsAddress(subnet, address)) return address
  throw wrong(path, quoteJson(text), `an address of ${formatPrefix(subnet)}`)
}

function wrong(path: string, shown: string, wanted: string): CniError {
  return new CniError(ErrorCode.invalidConfig, `Cannot use ${path} ${shown}: want ${wanted}`)
}

import { formatAddress, parseAddress, type Address } from '../net/address.ts'
import { PROTOCOLS, renderHostPort, type PortMapping, type Protocol } from '../net/port-mapping.ts'
import { CniError } from './errors.ts'
import {
  optionalInteger,
  optionalSections,
  optionalString,
  parseAt,
  pathOf,
  refusal,
  rootSection,
  type Section,
} from './json.ts'
import type { NetworkConfiguration } from './configuration.ts'

const PORT_BOUNDS = { min: 1, max: 65535 } as const

/** All of them go to the kernel in one transaction, which has to fit its socket. */
const MAX_MAPPINGS = 256

/**
 * Reads the capability "portMappings" of runtimeConfig (CNI CONVENTIONS.md): [{hostPort, containerPort, protocol, hostIP}].
 *
 * A protocol that is missing is TCP. The same mapping twice is one.
 *
 * @throws {CniError} code 7 with path, value and what is wanted; also when two mappings of the list want one host port.
 */
export function portMappings(net: NetworkConfiguration): readonly PortMapping[] {
  const runtimeConfig = { ...rootSection(net.runtimeConfig), path: 'runtimeConfig' }
  const sections = optionalSections(runtimeConfig, 'portMappings') ?? []
  if (sections.length > MAX_MAPPINGS) {
    const path = pathOf(runtimeConfig, 'portMappings')
    throw new CniError(
      runtimeConfig.code,
      `Cannot use ${path} with ${sections.length} mappings: want at most ${MAX_MAPPINGS}`,
    )
  }
  const unique = new Map<string, PortMapping>()
  for (const section of sections) {
    const mapping = parseMapping(section)
    const host = renderHostPort(mapping, mapping.hostAddress && formatAddress(mapping.hostAddress))
    const earlier = unique.get(host)
    if (earlier !== undefined && earlier.containerPort !== mapping.containerPort) {
      throw refusal(section, 'hostPort', `${host} once: an earlier mapping leads it to port ${earlier.containerPort}`)
    }
    unique.set(host, mapping)
  }
  return [...unique.values()]
}

function parseMapping(section: Section): PortMapping {
  const hostAddress = parseHostIp(section)
  return {
    protocol: parseProtocol(section),
    hostPort: parsePort(section, 'hostPort'),
    containerPort: parsePort(section, 'containerPort'),
    ...(hostAddress === undefined ? {} : { hostAddress }),
  }
}

function parsePort(section: Section, key: string): number {
  const port = optionalInteger(section, key, PORT_BOUNDS)
  if (port === undefined) throw refusal(section, key, `an integer from ${PORT_BOUNDS.min} to ${PORT_BOUNDS.max}`)
  return port
}

/** Runtimes write it in either case. */
function parseProtocol(section: Section): Protocol {
  const text = optionalString(section, 'protocol') ?? ''
  const protocol = text === '' ? 'tcp' : PROTOCOLS.find(name => name === text.toLowerCase())
  if (protocol === undefined) throw refusal(section, 'protocol', PROTOCOLS.map(name => `"${name}"`).join(', '))
  return protocol
}

function parseHostIp(section: Section): Address | undefined {
  const text = optionalString(section, 'hostIP')
  if (text === undefined || text === '') return undefined
  const address = parseAt({ ...section, path: pathOf(section, 'hostIP') }, () => parseAddress(text))
  if (address.family === 6 && address.value === 1n) {
    throw refusal(section, 'hostIP', 'another address: packets from ::1 cannot leave the host')
  }
  return address
}
